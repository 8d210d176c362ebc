export * from "./errno.ts";
export * from "./host_error.ts";
export type { Libc, Pages } from "./libc.ts";
export { type OpenHandles, openHandles } from "./open_handles.ts";
export type { OwnedFd } from "./owned_fd.ts";
export * from "./real_libc.ts";
export * from "./system_error.ts";
export type {
  CType,
  Field,
  FieldPath,
  InnerPath,
  Struct,
  StructLayout,
  Writable,
} from "./struct.ts";
