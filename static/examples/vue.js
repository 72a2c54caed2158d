import { createApp, h, ref } from "./vendor/vue.mjs";
import "../scan-login.js";

// A render function: templates compiled in the browser need 'unsafe-eval' in the site's policy. In a
// template it is <scan-login lang="en" @login="login">, with isCustomElement in the compiler's options.
const App = {
  setup() {
    const user = ref(null);
    // Give detail.token to your own server, which verifies it and opens a session.
    const login = ({ detail }) => { user.value = detail.user; };
    return () => user.value
      ? h("p", { role: "status" }, `Logged in: ${user.value.id}`)
      : h("scan-login", { lang: "en", onLogin: login });
  },
};

createApp(App).mount("#app");
