// Registers <scan-login>.

import { define } from "./lib/scan-element.js";

define();
