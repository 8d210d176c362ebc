import { ABI_PAGE, abiPage } from "./abi_page.ts";
import { API_PAGE, apiPage } from "./api_page.ts";

const root = new URL("../../", import.meta.url);
await Deno.writeTextFile(new URL(ABI_PAGE, root), abiPage());
await Deno.writeTextFile(new URL(API_PAGE, root), await apiPage());
