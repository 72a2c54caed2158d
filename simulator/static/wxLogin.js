// A working imitation of https://res.wx.qq.com/connect/zh_CN/htmledition/js/wxLogin.js: it puts
// the qrconnect page into an iframe, with the options of WeChat's page "Website login".
(function () {
  const open = new URL("/open", document.currentScript.src).href;

  window.WxLogin = function WxLogin(options) {
    const query = [
      ["appid", options.appid],
      ["scope", options.scope],
      // Given url-encoded by the caller, and passed on as it is.
      ["redirect_uri", options.redirect_uri, true],
      ["state", options.state ?? ""],
      ["login_type", "jssdk"],
      ["self_redirect", options.self_redirect === true ? "true" : "false"],
      ["styletype", options.styletype ?? ""],
      ["style", options.style ?? ""],
      ["stylelite", options.stylelite ?? ""],
      ["fast_login", options.fast_login ?? ""],
      ["href", options.stylelite === 1 ? "" : options.href ?? ""],
      ["lang", options.lang === "en" ? "en" : "cn"],
    ]
      .filter((pair) => pair[1] !== "")
      .map(([name, value, encoded]) => `${name}=${encoded ? value : encodeURIComponent(value)}`)
      .join("&");
    const frame = document.createElement("iframe");
    frame.src = `${open}/connect/qrconnect?${query}`;
    frame.setAttribute("frameborder", "0");
    frame.setAttribute("scrolling", "no");
    frame.setAttribute("width", "300px");
    frame.setAttribute("height", "400px");
    frame.setAttribute("allow", "local-network-access");
    const container = document.getElementById(options.id);
    container.replaceChildren(frame);
    if (options.onReady) frame.addEventListener("load", () => options.onReady(true));
  };
})();
