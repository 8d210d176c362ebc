export * from "./exit_port.ts";
export * from "./uart.ts";
