export * from "./errno.ts";
export * from "./host_error.ts";
export type { Libc } from "./libc.ts";
export { type OpenHandles, openHandles } from "./open_handles.ts";
export type { Pages } from "./pages.ts";
export * from "./real_libc.ts";
export * from "./system_error.ts";
export type { CType, Field, FieldPath, Struct, StructLayout, Writable } from "./struct.ts";
export type { InnerPath } from "./struct.ts";
