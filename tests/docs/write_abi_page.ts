import { ABI_PAGE, abiPage } from "./abi_page.ts";

await Deno.writeTextFile(new URL(`../../${ABI_PAGE}`, import.meta.url), abiPage());
