// Types and contract of scan-login.js: the <scan-login> element and the ScanLogin class beneath it.
// The npm package (packages/web) has the same, with React and Vue beside it.

/** What a scene can be in; `starting` and `paused` are the page's own, the rest is the server's. */
export type State =
  | "starting"      // no code yet
  | "waiting"       // a code is shown, not scanned yet
  | "scanned"       // a person scanned or followed
  | "confirming"    // the person is asked in the chat, and for a number on the page where `confirm` says so
  | "registering"   // known to WeChat, not yet here: answer with `register()`
  | "authorized"    // `login`, `exchange_code` or `ticket` is there
  | "expired" | "denied" | "cancelled" | "failed"
  | "paused"        // the automatic refreshes are used up: `again()` goes on
  | "replaced";     // another tab took this scene over

export interface User {
  /** Masked until `authorized`. It comes from WeChat: show it as text, never as markup. */
  name: string;
  avatar: string;
}

export interface Login {
  /** The JWT. Verify it on your server with /.well-known/jwks.json; with HS256, by the secret. */
  token: string;
  token_type: "Bearer";
  /** Seconds. */
  expires_in: number;
  user: { id: string; is_new: boolean };
  /** Where the server keeps sessions: what POST /api/token/refresh takes, once. It is a secret of this person's. */
  refresh_token?: string;
}

/** All there is to show. Times are milliseconds of this machine's clock. */
export interface View {
  state: State;
  scene_str?: string;
  seq?: number;
  user?: User;
  login?: Login;
  exchange_code?: string;
  /** In place of `login` on the page of the OpenID Provider, which posts it. */
  ticket?: string;
  /**
   * State `confirming`: `number` where the page has to be told the two digits that stand in the chat, by `number()`;
   * `chat` where the person answers there.
   */
  confirm?: "number" | "chat";
  registration_token?: string;
  /** State `registering`: what `register()` must be given, in the order to ask for it. */
  register_fields?: ("name" | "phone" | "email")[];
  /** What the QR code holds, and the server's own pictures of it. */
  qr?: { content?: string; expires_in: number; svg?: string; png: string; wechat_image?: string };
  /** Kind `code`: what the person types to the account. */
  code?: string;
  /** Kind `website`: where WeChat's own login opens. */
  start?: string;
  kind?: string;
  /** When the code was made, when it is renewed, when the present state ends. */
  began?: number;
  fresh_until?: number;
  ends?: number;
  transport?: "" | "socket" | "long_poll" | "poll";
  /**
   * Nothing gets through; whatever can be tried again is, at `retry`. `offline` is `degraded` in a browser that
   * believes itself offline.
   */
  trouble?: "" | "offline" | "degraded" | "limited";
  retry?: number;
  /**
   * A code of the contract, as in `wechat_unavailable`; also `wrong_number`, `already_used`, `unreachable`, `bug`, and
   * `opaque_origin` (a sandboxed frame) and `blocked_by_policy` (the page's connect-src). `forbidden_origin`, too, is
   * told where the browser hides it.
   */
  error?: string;
}

export interface Options {
  /** The scanpush server; its origin is what counts. Default: this page's. */
  server?: string | URL;
  /** The official account's name in config.yaml; default: the first. */
  account?: string;
  kind?: "official_account" | "mini_program" | "web" | "website" | "code";
  /** The authorization that the login is for; only on the page of the OpenID Provider. */
  authorize?: string;
  /** Of the replies in the chat. */
  lang?: string;
  /** How often a code is renewed by itself, in a visible tab. Default: 3. */
  refreshes?: number;
}

export interface ScanLoginEvents {
  change: Event;
  scanned: CustomEvent<View>;
  confirming: CustomEvent<View>;
  registering: CustomEvent<View>;
  /** Once per login; a View with `exchange_code` where the scene is a kiosk's, or with `ticket`. */
  login: CustomEvent<Login>;
  expired: CustomEvent<View>;
  denied: CustomEvent<View>;
  cancelled: CustomEvent<View>;
  error: CustomEvent<View>;
}

/**
 * One login, from the first code to the token, without any DOM.
 *
 * It follows the scene by WebSocket, long-polling or interval polling, whichever gets through, and
 * goes back up by itself. It renews codes, survives reload, sleep and changes of network, and
 * acknowledges the login only after your `login` listener has had it: a page that dies before that
 * gets the login again. sessionStorage holds what a reload needs, and never a token.
 */
export class ScanLogin extends EventTarget {
  constructor(options?: Options);
  readonly view: View;
  readonly server: URL;
  lang?: string;
  refreshes: number;
  /** Takes up the scenes this tab already has, or begins one. */
  start(): this;
  /** Stops listening. The scene can be taken up again by this tab until it ends. */
  stop(): void;
  /** A person asks for a fresh code: the automatic refreshes are counted from zero again. */
  again(): Promise<void>;
  /** A person gives up: the scene is cancelled at the server. */
  cancel(): void;
  /**
   * Answers `confirming` where a number is asked for: two digits. Resolves to null when they have arrived, right or
   * wrong: the next state tells which, and there is no second try. With an error they may be sent again.
   */
  number(digits: string): Promise<{ code: string; message?: string; field?: string } | null>;
  /** Answers `registering`. Resolves to the server's error, or null when all is well. */
  register(fields: Record<string, string>): Promise<{ code: string; message?: string; field?: string } | null>;
  addEventListener<K extends keyof ScanLoginEvents>(
    type: K, listener: (event: ScanLoginEvents[K]) => void, options?: boolean | AddEventListenerOptions): void;
}

/**
 * `<scan-login server account kind lang theme>`.
 *
 * Attributes: `server` (default: where scan-login.js came from), `account`, `kind`, `lang` (zh-CN,
 * zh-TW, en, ja; default: the document's), `theme` (light, dark; default: the system's).
 * Set them in the markup, or before scan-login.js runs: a later change begins another scene.
 * Events: those of ScanLogin, with `change` carrying the View.
 * Slots: `header`, `footer`, and one named as each state, in place of its words. Content without a slot is
 * seen until the element has drawn itself, and stays in a browser that is too old for it.
 * Parts: box, plate, ring, qr, picture, code, copy, status, title, hint, timer, form, button.
 * Custom properties: --ink, --soft, --line, --plate, --good, --bad, --focus.
 * A strict Content-Security-Policy needs the server in script-src and connect-src (http and ws),
 * and in img-src for kind mini_program and inside WeChat; nothing inline, no style-src. Trusted Types may be
 * enforced. docs/embedding.md has more.
 */
export interface ScanLoginElement extends HTMLElement {
  readonly login?: ScanLogin;
  again(): Promise<void> | undefined;
  cancel(): void;
  addEventListener<K extends keyof ScanLoginElementEventMap>(
    type: K, listener: (this: ScanLoginElement, event: ScanLoginElementEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions): void;
  addEventListener(
    type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof ScanLoginElementEventMap>(
    type: K, listener: (this: ScanLoginElement, event: ScanLoginElementEventMap[K]) => unknown,
    options?: boolean | EventListenerOptions): void;
  removeEventListener(
    type: string, listener: EventListenerOrEventListenerObject, options?: boolean | EventListenerOptions): void;
}

/** The element's attributes, as markup has them. */
export interface ScanLoginAttributes {
  server?: string;
  account?: string;
  kind?: Options["kind"];
  lang?: string;
  theme?: "light" | "dark";
}

/** What the element itself tells. */
export interface ScanLoginElementEvents extends Omit<ScanLoginEvents, "change"> {
  change: CustomEvent<View>;
}

/** All events of the element, those of every HTMLElement among them. */
export interface ScanLoginElementEventMap
  extends Omit<HTMLElementEventMap, keyof ScanLoginElementEvents>, ScanLoginElementEvents {}

/** The language that serves a tag best. */
export function language(tag?: string): "zh-CN" | "zh-TW" | "en" | "ja";

declare global {
  interface HTMLElementTagNameMap {
    "scan-login": ScanLoginElement;
  }
}
