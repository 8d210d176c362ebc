import type { Scenario } from "../../lib/cli/demo/scenario.ts";
import { faults } from "./faults.ts";
import { longModePages } from "./long_mode_pages.ts";
import { ownTables } from "./own_tables.ts";
import { realMode } from "./real_mode.ts";

/** The guests of the demo, in the order in which it boots them. */
export const scenarios: readonly Scenario[] = [
  ...realMode,
  ...ownTables,
  ...longModePages,
  ...faults,
];
