// <ScanLogin> for Vue 3. A server renders the bare tag, and the element draws itself in the browser.

import { defineComponent, h, onMounted, ref } from "vue";
import { define } from "./lib/scan-element.js";

const EVENTS = ["change", "scanned", "confirming", "registering", "login", "expired", "denied", "cancelled", "error"];
const ATTRIBUTES = ["server", "account", "kind", "lang", "theme"];

export const ScanLogin = defineComponent({
  name: "ScanLogin",
  props: ATTRIBUTES,
  emits: EVENTS,
  setup(props, { emit, expose, slots }) {
    const element = ref();
    expose({ element });
    onMounted(define);
    // A field that a page puts into a slot has events of these names, too.
    const tell = (event) => { if (event.target === element.value) emit(event.type, event.detail); };
    const handlers = Object.fromEntries(EVENTS.map((name) => [`on${name[0].toUpperCase()}${name.slice(1)}`, tell]));
    return () => {
      const given = Object.entries(props).filter(([, value]) => value !== undefined);
      return h("scan-login", { ...Object.fromEntries(given), ...handlers, ref: element }, slots.default?.());
    };
  },
});
