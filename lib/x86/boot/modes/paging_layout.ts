import type { PageMapping } from "../../paging/page_mapping.ts";
import type { PageSizeName } from "../../paging/page_levels.ts";
import type { TableArea } from "../../paging/page_tables.ts";

/** What boot states with paging can be told. All of it has defaults. */
export interface PagingLayout<IdentityPageSize extends PageSizeName = PageSizeName> {
  /**
   * Where page tables go: from an address up to the end of the memory, or in an area with its own end. By
   * default four at 0x1000, and five more from 0x7000 where four are too few.
   */
  pageTables?: number | TableArea;
  /**
   * Pages of the map of the first addresses onto themselves, or false for none. In long mode it has the first
   * GiB, by default in `"2M"` pages; in mode `"pae"` all 4 GiB, by default in `"2M"` pages; in mode `"paged"` all
   * 4 GiB in `"4M"` pages, the default. With `"4K"` the first 2 MiB have 4 KiB pages and the rest 2 MiB ones;
   * in mode `"paged"` the first 4 MiB have them, the rest is not mapped, and CR4.PSE stays clear.
   */
  identityMap?: IdentityPageSize | false;
  /** Further mappings. Where one of them lies, the identity map has no say: one can cut holes into it. */
  mappings?: readonly PageMapping[];
}
