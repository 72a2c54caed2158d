// Waits for the phone's decision, then goes back to the site with code and state. The deny
// without a redirect, as newer pages do it, only shows that it was denied.
const box = document.getElementById("connect");
const words = JSON.parse(box.dataset.words);
const status = document.getElementById("status");

function returnTo(code) {
  const target = new URL(box.dataset.redirect);
  if (code) target.searchParams.append("code", code);
  if (box.dataset.state) target.searchParams.append("state", box.dataset.state);
  (box.dataset.top === "yes" ? window.top : window).location.href = target.href;
}

async function wait() {
  let last = "0";
  for (;;) {
    const query = new URLSearchParams({ uuid: box.dataset.uuid, last });
    let text = "";
    try {
      text = await (await fetch(`/open/connect/l/qrconnect?${query}`)).text();
    } catch {
      await new Promise((resolve) => { setTimeout(resolve, 1000); });
      continue;
    }
    const errcode = /wx_errcode=(\d+)/.exec(text)?.[1];
    const code = /wx_code='([^']*)'/.exec(text)?.[1] ?? "";
    if (errcode === "405") return returnTo(code);
    if (errcode === "404") status.textContent = words.website_scanned;
    if (errcode === "403") {
      status.textContent = words.refused;
      return box.dataset.deny === "redirect" ? returnTo("") : undefined;
    }
    if (errcode !== "408" && errcode !== "404") {
      status.textContent = words.over_more;
      return undefined;
    }
    last = errcode;
  }
}

wait();
