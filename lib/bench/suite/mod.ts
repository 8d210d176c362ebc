export { suite } from "./suite.ts";
