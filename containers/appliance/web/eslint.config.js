// The packages are in build/dev-web, see scripts/test.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../build/dev-web/", import.meta.url));
const js = require("@eslint/js");
const globals = require("globals");

export default [
  js.configs.recommended,
  { rules: { "no-undef": "off" } }, // tsc knows better
  {
    files: ["**/assets/**/*.js"],
    languageOptions: { ecmaVersion: 2024, sourceType: "module", globals: globals.browser },
    rules: {
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-console": "error",
      "no-var": "error",
      "prefer-const": "error",
      eqeqeq: "error",
    },
  },
];
