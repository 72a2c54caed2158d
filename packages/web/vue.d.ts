import type { HTMLAttributes, VNode } from "vue";
import type { Login, ScanLoginAttributes, ScanLoginElement, ScanLoginElementEvents, View } from "./index.js";

type Attributes = ScanLoginAttributes & Omit<HTMLAttributes, keyof ScanLoginAttributes | "onChange" | "onError">;

/** `<scan-login>` as a component: it registers the element in the browser, and may be rendered on a server. */
export const ScanLogin: new () => {
  $props: Attributes & {
    /** Once per login. Give `login.token` to your own server, which verifies it and opens a session. */
    onLogin?: (login: Login) => unknown;
    onChange?: (view: View) => unknown;
    onScanned?: (view: View) => unknown;
    onConfirming?: (view: View) => unknown;
    onRegistering?: (view: View) => unknown;
    onExpired?: (view: View) => unknown;
    onDenied?: (view: View) => unknown;
    onCancelled?: (view: View) => unknown;
    onError?: (view: View) => unknown;
  };
  $slots: { default?: () => VNode[] };
  /** The element itself, as a template ref of this component has it. */
  element: ScanLoginElement | undefined;
};

type Listeners = {
  [Name in keyof ScanLoginElementEvents as `on${Capitalize<Name>}`]?: (event: ScanLoginElementEvents[Name]) => unknown;
};

declare module "vue" {
  interface GlobalComponents {
    /** The bare tag, with `isCustomElement` in the compiler's options. */
    "scan-login": new () => { $props: Attributes & Listeners; $slots: { default?: () => VNode[] } };
  }
}
