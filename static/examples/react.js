import { createElement as h, createRoot, useEffect, useRef, useState } from "./vendor/react.mjs";
import "../scan-login.js";

// React 19 passes attributes and `on...` handlers to custom elements; a ref works in every version.
function ScanLogin({ onLogin, onState, ...attributes }) {
  const element = useRef(null);
  useEffect(() => {
    const { current } = element;
    const login = (event) => onLogin(event.detail);
    const change = () => onState?.(current.login.view.state);
    current.addEventListener("login", login);
    current.addEventListener("change", change);
    return () => {
      current.removeEventListener("login", login);
      current.removeEventListener("change", change);
    };
  }, [onLogin, onState]);
  return h("scan-login", { ref: element, ...attributes });
}

function App() {
  const [user, setUser] = useState(null);
  if (user) return h("p", { role: "status" }, `Logged in: ${user.id}`);
  // Give login.token to your own server, which verifies it and opens a session.
  return h(ScanLogin, { lang: "en", onLogin: (login) => setUser(login.user) });
}

createRoot(document.getElementById("app")).render(h(App));
