export { ExitPort } from "./exit_port.ts";
export { Uart } from "./uart.ts";
