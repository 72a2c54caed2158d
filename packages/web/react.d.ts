import type { ForwardRefExoticComponent, HTMLAttributes, Ref, RefAttributes } from "react";
import type { Login, ScanLoginAttributes, ScanLoginElement, ScanLoginElementEvents, View } from "./index.js";

type Told<Detail, Name extends keyof ScanLoginElementEvents> = (
  detail: Detail, event: ScanLoginElementEvents[Name]) => void;

/** The attributes of the tag, and a handler for each event, which is given the event's detail first. */
export interface ScanLoginProps
  extends Omit<HTMLAttributes<ScanLoginElement>, "onChange" | "onError" | keyof ScanLoginAttributes>,
    ScanLoginAttributes {
  /** Once per login. Give `login.token` to your own server, which verifies it and opens a session. */
  onLogin?: Told<Login, "login">;
  onChange?: Told<View, "change">;
  onScanned?: Told<View, "scanned">;
  onConfirming?: Told<View, "confirming">;
  onRegistering?: Told<View, "registering">;
  onExpired?: Told<View, "expired">;
  onDenied?: Told<View, "denied">;
  onCancelled?: Told<View, "cancelled">;
  onError?: Told<View, "error">;
}

/** `<scan-login>` as a component: it registers the element in the browser, and may be rendered on a server. */
export const ScanLogin: ForwardRefExoticComponent<ScanLoginProps & RefAttributes<ScanLoginElement>>;

/** The bare tag, as React passes it on; handlers of this form need React 19. */
export interface ScanLoginTag
  extends Omit<HTMLAttributes<ScanLoginElement>, keyof ScanLoginAttributes>, ScanLoginAttributes {
  class?: string;
  key?: string | number | bigint | null;
  ref?: Ref<ScanLoginElement>;
  onlogin?: (event: ScanLoginElementEvents["login"]) => void;
  onchange?: (event: ScanLoginElementEvents["change"]) => void;
  onscanned?: (event: ScanLoginElementEvents["scanned"]) => void;
  onconfirming?: (event: ScanLoginElementEvents["confirming"]) => void;
  onregistering?: (event: ScanLoginElementEvents["registering"]) => void;
  onexpired?: (event: ScanLoginElementEvents["expired"]) => void;
  ondenied?: (event: ScanLoginElementEvents["denied"]) => void;
  oncancelled?: (event: ScanLoginElementEvents["cancelled"]) => void;
  onerror?: (event: ScanLoginElementEvents["error"]) => void;
}

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "scan-login": ScanLoginTag;
    }
  }
}
