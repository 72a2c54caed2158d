// Importing "@scanpush/web/element" registers <scan-login>; the types of its tag come with it.

import "./index.js";

export {};
