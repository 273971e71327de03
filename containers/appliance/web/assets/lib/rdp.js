// @ts-check
// One RDP connection to the guest, by IronRDP's WebAssembly client through the gateway (RDCleanPath).

import * as vendor from "../vendor/ironrdp/iron-remote-desktop-rdp.js";

/** @typedef {typeof import("@devolutions/iron-remote-desktop-rdp")} Client */
/** @typedef {InstanceType<Client["Backend"]["ClipboardData"]>} ClipboardData */
/** @typedef {Awaited<ReturnType<InstanceType<Client["Backend"]["SessionBuilder"]>["connect"]>>} Session */
/** @typedef {{ kind(): number, backtrace(): string, rdcleanpathDetails(): Details | undefined }} IronError */
/** @typedef {{ httpStatusCode?: number, wsaErrorCode?: number, tlsAlertCode?: number }} Details */
/** @typedef {import("./view.js").Size} Size */

/** How long a connection may take, in milliseconds: a guest in software emulation needs its time. */
const PATIENCE = 45_000;

/** Why there is no connection, in words for the user. */
export class Failure extends Error {
  /**
   * @param {string} message
   * @param {string} hint
   * @param {number} tries after how many in a row trying again by itself makes no sense
   */
  constructor(message, hint = "", tries = Infinity) {
    super(message);
    this.hint = hint;
    this.tries = tries;
  }
}

/** @type {Promise<Client> | undefined} */
let loading;

/**
 * Loads and compiles the client, once.
 * @returns {Promise<Client>}
 */
export function load() {
  loading ??= vendor.init("ERROR").then(() => {
    performance.mark("7lbd-client-loaded");
    return vendor;
  });
  loading.catch(() => {
    loading = undefined;
  });
  return loading;
}

/**
 * @typedef {object} Wishes
 * @property {{ account: string, password: string, destination: string }} login
 * @property {string} proxy the gateway's WebSocket
 * @property {Size} size
 * @property {HTMLCanvasElement} canvas
 * @property {(css: string) => void} onCursor
 * @property {() => void} onSize
 * @property {((data: ClipboardData) => void) | null} onClipboard null where the clipboard is not shared
 * @property {() => void} onClipboardWanted
 */

/** A connection that stands. `ended` tells how it went down: with the server's word, or "" when it broke. */
export class Connection {
  #client;
  #session;
  /** @type {Promise<string>} */
  ended;

  /**
   * @param {Client} client
   * @param {Session} session
   * @param {HTMLCanvasElement} canvas
   */
  constructor(client, session, canvas) {
    this.#client = client;
    this.#session = session;
    this.canvas = canvas;
    this.alive = true;
    this.ended = this.#run();
  }

  async #run() {
    try {
      return (await this.#session.run()).reason();
    } catch {
      return "";
    } finally {
      this.alive = false;
    }
  }

  get size() {
    const { width, height } = this.#session.desktopSize();
    return { width, height };
  }

  get events() {
    return this.#client.Backend.DeviceEvent;
  }

  /** @param {ReturnType<Client["Backend"]["DeviceEvent"]["keyPressed"]>[]} events */
  send(...events) {
    if (!this.alive) return;
    const transaction = new this.#client.Backend.InputTransaction();
    for (const event of events) transaction.addEvent(event);
    this.#session.applyInputs(transaction);
  }

  releaseAll() {
    if (this.alive) this.#session.releaseAllInputs();
  }

  /** @param {MouseEvent | KeyboardEvent} event */
  syncLocks(event) {
    if (!this.alive) return;
    const [scroll, num, caps, kana] = ["ScrollLock", "NumLock", "CapsLock", "KanaMode"].map((key) =>
      event.getModifierState(key),
    );
    this.#session.synchronizeLockKeys(scroll === true, num === true, caps === true, kana === true);
  }

  /** @param {(data: ClipboardData) => void} fill puts in what the guest may fetch from now on */
  async offerClipboard(fill) {
    if (!this.alive) return;
    const data = new this.#client.Backend.ClipboardData();
    fill(data);
    await this.#session.onClipboardPaste(data);
  }

  close() {
    if (this.alive) this.#session.shutdown();
  }
}

/**
 * @param {Wishes} wishes
 * @returns {Promise<Connection>}
 */
export async function connect(wishes) {
  const client = await load();
  const attempt = builder(client, wishes).connect();
  try {
    const session = await inTime(attempt);
    return new Connection(client, session, wishes.canvas);
  } catch (error) {
    throw explain(error);
  }
}

/**
 * @param {Client} client
 * @param {Wishes} wishes
 */
function builder(client, wishes) {
  const { SessionBuilder, DesktopSize } = client.Backend;
  const made = new SessionBuilder()
    .username(wishes.login.account)
    .password(wishes.login.password)
    .destination(wishes.login.destination)
    .serverDomain("")
    .proxyAddress(wishes.proxy)
    .authToken("cookie") // the gateway asks for the cookie; the client insists on a word
    .desktopSize(new DesktopSize(wishes.size.width, wishes.size.height))
    .renderCanvas(wishes.canvas)
    .extension(client.enableCredssp(true))
    .extension(client.displayControl(false))
    .setCursorStyleCallbackContext(null)
    .setCursorStyleCallback(/** @type {CursorCallback} */ (kind, url, x, y) => wishes.onCursor(cursor(kind, url, x, y)))
    .canvasResizedCallback(wishes.onSize);
  if (wishes.onClipboard) {
    made.remoteClipboardChangedCallback(wishes.onClipboard);
    made.forceClipboardUpdateCallback(wishes.onClipboardWanted);
  }
  return made;
}

/** @typedef {(kind: string, url?: string, x?: number, y?: number) => void} CursorCallback */

/**
 * @param {string} kind
 * @param {string | undefined} url
 * @param {number | undefined} x
 * @param {number | undefined} y
 */
function cursor(kind, url, x = 0, y = 0) {
  if (kind === "hidden") return "none";
  return kind === "url" && url ? `url(${url}) ${Math.round(x)} ${Math.round(y)}, default` : "default";
}

/**
 * @template {{ shutdown(): void }} T
 * @param {Promise<T>} attempt
 * @returns {Promise<T>}
 */
function inTime(attempt) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      attempt.then((late) => late.shutdown()).catch(() => {});
      reject(new Failure("The guest’s remote desktop server does not answer"));
    }, PATIENCE);
    attempt.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

// IronErrorKind of iron-remote-desktop.
const [WRONG_PASSWORD, LOGON_FAILURE, ACCESS_DENIED, RDCLEANPATH, PROXY, NEGOTIATION] = [1, 2, 3, 4, 5, 6];
const NATIVE_HINT = "A native client may do better, and shows more of what is wrong.";

/** @param {unknown} error */
function explain(error) {
  if (error instanceof Failure) return error;
  const iron = /** @type {Partial<IronError>} */ (error);
  switch (iron.kind?.()) {
    case WRONG_PASSWORD:
    case LOGON_FAILURE:
      return new Failure(
        "The guest refuses the session’s password",
        "If the account’s password was changed in the guest, this page cannot know the new one: log in with a native client, or start a new session.",
        1,
      );
    case ACCESS_DENIED:
      return new Failure("The guest does not let this account in by remote desktop", NATIVE_HINT, 1);
    case NEGOTIATION:
      return new Failure("The guest asks for a kind of log-in that this client does not have", NATIVE_HINT, 1);
    case RDCLEANPATH:
      return refusal(iron.rdcleanpathDetails?.());
    case PROXY:
      return new Failure("The session’s gateway does not answer");
    default:
      return other(iron.backtrace?.() ?? String(error));
  }
}

const BAD_CERTIFICATE = 42; // RFC 8446, section 6

/** @param {Details | undefined} details */
function refusal(details) {
  if (details?.tlsAlertCode === BAD_CERTIFICATE) {
    return new Failure(
      "The guest shows another certificate than the session’s own",
      "Do not type a password into it; tell whoever runs this cluster.",
      1,
    );
  }
  if (details?.httpStatusCode === 403)
    return new Failure("This session does not let the desktop be opened here", "", 1);
  if (details?.tlsAlertCode !== undefined) return new Failure("The guest’s remote desktop server breaks off TLS");
  return new Failure("The guest’s remote desktop server does not answer");
}

/** @param {string} trace */
function other(trace) {
  // Some servers say nothing to a wrong password, and hang up; others name an error of their own. Accounts get locked
  // by too many attempts.
  if (trace.includes("not enough bytes") || trace.includes("CredSSP server returned an error")) {
    const hint = "Servers do so when they do not take the password. Was it changed in the guest?";
    return new Failure("The guest breaks off the log-in", hint, 3);
  }
  return new Failure("The desktop could not be opened", trace.split("\n", 1)[0]?.slice(0, 200));
}
