// What the pages use of the clients that the build lays into assets/vendor.

declare module "*/vendor/ironrdp/iron-remote-desktop-rdp.js" {
  export * from "@devolutions/iron-remote-desktop-rdp";
}

declare module "*/vendor/novnc/core/rfb.js" {
  /** noVNC's docs/API.md */
  export default class RFB extends EventTarget {
    constructor(target: HTMLElement, line: string | WebSocket, options?: { shared?: boolean; wsProtocols?: string[] });
    viewOnly: boolean;
    scaleViewport: boolean;
    clipViewport: boolean;
    dragViewport: boolean;
    resizeSession: boolean;
    focusOnClick: boolean;
    background: string;
    disconnect(): void;
    focus(options?: FocusOptions): void;
    sendCtrlAltDel(): void;
    sendKey(keysym: number, code: string, down?: boolean): void;
  }
}

declare module "*/vendor/novnc/core/input/xtscancodes.js" {
  const scanCodes: Record<string, number>;
  export default scanCodes;
}

declare module "*/vendor/novnc/core/input/gesturehandler.js" {
  export default class GestureHandler {
    attach(target: HTMLElement): void;
    detach(): void;
  }
}

/** The file names of the two parts of the RDP client's WebAssembly, and the first one's size: constants of the build. */
declare const CLIENT_FILE: string;
declare const CLIENT_BYTES: number;
declare const CLIENT_REST: string;

/** Which pages these are: as the gateway says it of its own (scripts/sifbuild/bundle.py). */
declare const PAGES_VERSION: string;
