// How <scan-login> looks: its style sheet, its markup and its pictures. What it does is in scan-element.js.

const DARK = `{ --ink: #eceee9; --soft: #a3ada7; --line: #39423d; --plate: #1d2320; --good: #63d2a6; --bad: #ff9a8f;
  --focus: #8ab4ff; }`;
const STYLE = `
:host { --ink: #191d1b; --soft: #56605b; --line: #d9ddd6; --plate: #fff; --good: #0a6b4d; --bad: #b3261e;
  --focus: #1d5fd1;
  display: inline-block; box-sizing: border-box; width: 18rem; max-width: 100%; color: var(--ink); line-height: 1.55;
  text-align: center; }
:host([hidden]), [hidden] { display: none !important; }
:host([theme=dark]) ${DARK}
@media (prefers-color-scheme: dark) { :host(:not([theme=light])) ${DARK} }
[part=plate] { position: relative; display: grid; place-items: center; border-radius: 7%;
  background: var(--plate); container-type: inline-size; }
.qr [part=plate] { background: #fff; --line: #dde1db; --good: var(--ring, #0a6b4d); }
/* A square: percentages of a padding are of the width. */
[part=plate]::before { content: ""; padding-bottom: 100%; }
[part=plate]::before, [part=plate] > * { grid-area: 1 / 1; }
[part=ring] { position: absolute; top: 0; left: 0; pointer-events: none; width: 100%; height: 100%; fill: none;
  stroke: var(--line); stroke-width: 1.2; }
[part=ring] .time { stroke: var(--good); }
/* Only forwards: what comes after the code has no ring. */
.waiting .time { transition: stroke-dasharray 1s linear; }
/* Out of the grid: Safari 13 takes the height of a row from them, and the plate is no square any more. */
[part=qr], [part=picture] { position: absolute; top: 0; right: 0; bottom: 0; left: 0; margin: auto; width: 84%;
  height: 84%; fill: #0d100e; }
[part=picture] { fill: var(--line); }
.sign { transition: stroke .3s; fill: none; stroke: var(--soft); stroke-width: 1.1; stroke-linecap: round;
  stroke-linejoin: round; }
.scanned .sign, .confirming .sign, .registering .sign, .authorized .sign { stroke: var(--good); }
.denied .sign, .failed .sign { stroke: var(--bad); }
[part=code] { font: 600 2.4rem/1 ui-monospace, monospace;
  letter-spacing: .14em; padding-left: .14em; user-select: all; }
@supports (width: 1cqi) { [part=code] { font-size: min(4.5rem, 102cqi / var(--characters, 6)); } }
[part=copy] { align-self: flex-end; margin-bottom: 12%; }
[part=form] { width: 86%; margin: 5% 0; font-size: .9375em; }
.registering [part=ring] { display: none; }
[part=form]:not([hidden]):not(:empty) ~ [part=picture] { display: none; }
[role=status] { display: grid; align-content: flex-start; margin-top: 1rem; min-height: 4.7em; text-wrap: balance;
  overflow-wrap: break-word; overflow-wrap: anywhere; }
[role=status] > * { grid-area: 1 / 1; display: block; min-width: 0; }
.next, .starting [part=button] { visibility: hidden; }
p { margin: 0; }
[part=title], .title { font-size: 1.125em; font-weight: 600; }
[part=hint], [part=timer], .hint { color: var(--soft); font-size: .9375em; }
[part=timer] { font-variant-numeric: tabular-nums; min-height: 1.55em; }
bdi { display: inline-block; max-width: 12em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  vertical-align: bottom; }
/* A button comes where the time was: what stands below does not move. */
.actions { display: grid; align-content: flex-start; justify-items: center; min-height: 3.5rem; }
.actions [part=timer]:empty { min-height: 0; }
button { font: inherit; font-weight: 600; min-height: 2.75rem; padding: .4em 1.4em; margin-top: .75rem; border: 0;
  border-radius: .75rem; color: var(--plate); background: var(--good); cursor: pointer; }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; }
.starting .sign { animation: breathe 1.6s infinite; }
@keyframes breathe { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
@media (forced-colors: active) {
  :host { --ink: CanvasText; --soft: CanvasText; --line: GrayText; --plate: Canvas; --good: LinkText;
    --bad: CanvasText; }
  [part=plate], button { border: 1px solid; }
  .qr [part=plate] { forced-color-adjust: none; border-color: #fff; }
}`;

const PHONE = "M7 3h10v18H7zM11 18h2";

/** What is drawn in the middle of the plate, by state and trouble; a box of 24 by 24. */
export const PICTURES = {
  starting: "M6 12h.01M12 12h.01M18 12h.01",
  waiting: "M3 5h18v14H3zM3 9h18",
  scanned: `${PHONE}M10 12l2 2 2-4`,
  confirming: `${PHONE}M12 8v4l2 2`,
  registering: "M10 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM3 20q0-6 7-6M17 14v6M14 17h6",
  authorized: "M4 12.5l5.5 5.5L20 7",
  expired: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5l3.5 2",
  paused: "M9 6v12M15 6v12",
  denied: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM9 9l6 6M15 9l-6 6",
  cancelled: "M9 5L4 10l5 5M4 10h10a6 6 0 0 1 0 12h-3",
  failed: "M12 4L2.5 20h19L12 4zM12 10v4M12 17h.01",
  offline: "M3 9q9-8 18 0M6 13q6-5 12 0M12 18h.01M4 3l16 18",
  degraded: "M2 12h4l3-7 5 14 3-7h5",
  limited: "M7 3h10l-5 9zM7 21h10l-5-9z",
  replaced: "M9 9h12v12H9zM5 15H3V3h12v2",
};

// Trusted Types let no markup be parsed.
const make = (space) => (tag, attributes, ...inside) => {
  const element = document.createElementNS(`http://www.w3.org/${space}`, tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  element.append(...inside);
  return element;
};
const html = make("1999/xhtml"), svg = make("2000/svg");
// The eyes of the code stay, and the middle makes room for the picture.
const eye = (x, y) => `M${x} ${y}h9v9h-9zm1.3 1.3v6.4h6.4v-6.4zm1.4 1.4h3.6v3.6h-3.6z`;
const RECT = { x: .6, y: .6, width: 98.8, height: 98.8, rx: 6.4 };
/** What stands in the element's shadow. */
export const parts = () => [
  html("slot", { name: "header" }),
  html("div", { part: "box" },
    html("div", { part: "plate" },
      svg("svg", { part: "ring", viewBox: "0 0 100 100", "aria-hidden": true },
        svg("rect", RECT), svg("rect", { ...RECT, class: "time", pathLength: 100 })),
      svg("svg", { part: "qr", role: "img", "shape-rendering": "crispEdges" }, svg("path")),
      html("img", { part: "qr", alt: "", hidden: "" }),
      html("span", { part: "code" }),
      html("button", { part: "copy", type: "button", hidden: "" }),
      html("form", { part: "form", hidden: "" }),
      svg("svg", { part: "picture", viewBox: "0 0 42 42", "aria-hidden": true },
        svg("path", { "fill-rule": "evenodd", d: eye(0, 0) + eye(33, 0) + eye(0, 33) }),
        svg("g", { transform: "translate(9 9)" }, svg("path", { class: "sign" })))),
    html("div", { part: "status", role: "status" },
      html("slot", {}, html("p", { part: "title" }), html("p", { part: "hint" })),
      // The room that the words with the code will take, so that nothing moves when they come.
      html("div", { class: "next", "aria-hidden": "true" },
        html("p", { class: "title" }), html("p", { class: "hint" }))),
    html("div", { class: "actions" },
      html("p", { part: "timer", role: "timer" }),
      html("button", { part: "button", type: "button" }))),
  html("slot", { name: "footer" }),
];

/** Puts the element's style, or `css`, on its shadow `root`. */
export const dress = (root, css = STYLE) => {
  try {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
  } catch (error) {
    // Safari before 16.4, Firefox before 101.
    root.append(html("style", {}, css));
  }
};
