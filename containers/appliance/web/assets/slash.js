// @ts-check
// Some proxies lead here by an address that lacks its last slash, and take the difference away from the gateway: then
// everything that a page names beside itself would be looked for one step too high. This script is found all the same.

if (!location.pathname.endsWith("/")) location.replace(`${location.pathname}/${location.search}${location.hash}`);
