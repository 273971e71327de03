// @ts-check
// What a portal in front of the session answers in its stead when its own log-in is over. The key to the session is as
// good as before: nothing of ours says that.

/** The status by which a refusal of its is told: Proxy Authentication Required (RFC 9110, 15.5.8). */
export const PORTALS = 407;

/** In words for the user; `part` stands in a sentence. */
export const WANTS_LOGIN = {
  title: "The portal wants a new log-in",
  part: "the portal wants a new log-in",
  text: "The session goes on. Log in to the portal again, here or in another tab of this browser.",
};

/**
 * Whether an answer is a portal's, who sends a log-in's form, a redirection to it, or a refusal that is not in our words.
 * @param {Response} answer to a request that follows no redirection: we have none but for forms
 * @param {unknown} words its JSON, if it is some
 */
export function isPortals(answer, words) {
  if (answer.type === "opaqueredirect") return true;
  if (answer.ok) return (answer.headers.get("Content-Type") ?? "").startsWith("text/html");
  return [401, 403].includes(answer.status) && !isOurs(words);
}

/**
 * Each refusal of ours has both (inside/gateway/responses.py).
 * @param {unknown} words
 */
function isOurs(words) {
  return typeof words === "object" && words !== null && "error" in words && "hint" in words;
}
