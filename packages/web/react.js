"use client";
// <ScanLogin> for React 18 and later. A server renders the bare tag, and the element draws itself in the browser.

import { createElement, forwardRef, useCallback, useInsertionEffect, useRef } from "react";
import { define } from "./lib/scan-element.js";

const EVENTS = ["change", "scanned", "confirming", "registering", "login", "expired", "denied", "cancelled", "error"];
const handlerOf = (name) => `on${name[0].toUpperCase()}${name.slice(1)}`;
const HANDLERS = new Set(EVENTS.map(handlerOf));

export const ScanLogin = forwardRef(function ScanLogin({ className, ...props }, outer) {
  const now = useRef(props);
  // With the commit itself, so that no event meets the handlers of an earlier rendering.
  useInsertionEffect(() => { now.current = props; });
  // A ref is set before the browser can do anything else, so that no event of the element is missed.
  const undo = useRef();
  const attach = useCallback((element) => {
    undo.current?.();
    undo.current = undefined;
    if (element) {
      const tell = (event) => {
        // A field that a page puts into a slot has events of these names, too.
        if (event.target === element) now.current[handlerOf(event.type)]?.(event.detail, event);
      };
      EVENTS.forEach((name) => element.addEventListener(name, tell));
      undo.current = () => EVENTS.forEach((name) => element.removeEventListener(name, tell));
      define();
    }
    if (typeof outer === "function") outer(element);
    else if (outer) outer.current = element;
  }, [outer]);
  const attributes = Object.entries(props).filter(([name]) => !HANDLERS.has(name));
  // React 18 gives a custom element its properties by their names in the markup.
  return createElement("scan-login", { ...Object.fromEntries(attributes), class: className, ref: attach });
});
