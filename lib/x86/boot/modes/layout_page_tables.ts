import { PROTECTED_MODE } from "../../layout.ts";
import type { PageSizeName, PagingMode } from "../../paging/page_levels.ts";
import { buildPageTables, type PageTables, type TableArea } from "../../paging/page_tables.ts";
import { identityMap } from "./identity_map.ts";
import type { PagingLayout } from "./paging_layout.ts";

/** The page tables of a boot state. */
export function layoutPageTables(
  { pageTables, identityMap: pageSize, mappings = [] }: PagingLayout,
  { paging, user, memorySize }: { paging: PagingMode; user: boolean; memorySize: number },
): PageTables {
  const identity = pageSize === false
    ? []
    : identityMap({ paging, pageSize: pageSize ?? defaultPages(paging), user, others: mappings });
  return buildPageTables({
    areas: tableAreas(pageTables, memorySize),
    mappings: [...identity, ...mappings],
    paging,
  });
}

function defaultPages(paging: PagingMode): PageSizeName {
  return paging === "32-bit" ? "4M" : "2M";
}

function tableAreas(pageTables: PagingLayout["pageTables"], memorySize: number): TableArea[] {
  if (typeof pageTables === "number") return [{ start: pageTables, end: memorySize }];
  if (pageTables !== undefined) return [pageTables];
  return [
    { start: PROTECTED_MODE.pageTables, end: PROTECTED_MODE.pageTablesEnd },
    { start: PROTECTED_MODE.morePageTables, end: PROTECTED_MODE.morePageTablesEnd },
  ];
}
