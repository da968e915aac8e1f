// SPDX-License-Identifier: Apache-2.0
// The official TypeScript client: `node client.mjs stdio COMMAND [ARG]...` or `node client.mjs http URL`.
// Prints one JSON list: what each call gave, and every error that the transport told of.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema, ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [kind, ...rest] = process.argv.slice(2);
const client = new Client(
  { name: "foreign", version: "1.0" },
  { capabilities: { sampling: {}, elicitation: {} } },
);
client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { username: "ada", email: "a@b.c" } }));
client.setRequestHandler(CreateMessageRequestSchema, () => ({
  model: "none",
  role: "assistant",
  content: { type: "text", text: "sampled" },
}));
const told = [];
client.onerror = (error) => told.push(["onerror", String(error)]);

async function keep(name, call) {
  try {
    told.push([name, await call()]);
  } catch (error) {
    told.push([name, { code: error.code, message: error.message }]);
  }
}

const environment = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== undefined));
const transport =
  kind === "stdio"
    ? new StdioClientTransport({ command: rest[0], args: rest.slice(1), env: environment })
    : new StreamableHTTPClientTransport(new URL(rest[0]));
await client.connect(transport);
told.push(["server", client.getServerVersion(), client.getServerCapabilities()]);
await keep("ping", () => client.ping());
await keep("tools", () => client.listTools());
await keep("add", () => client.callTool({ name: "add", arguments: { a: 1, b: 2 } }));
await keep("text", () => client.callTool({ name: "test_simple_text", arguments: {} }));
await keep("error", () => client.callTool({ name: "test_error_handling", arguments: {} }));
await keep("unknown", () => client.callTool({ name: "nowhere", arguments: {} }));
await keep("wrong", () => client.callTool({ name: "add", arguments: { a: "x" } }));
await keep("sampling", () => client.callTool({ name: "test_sampling", arguments: { prompt: "say" } }));
await keep("elicitation", () => client.callTool({ name: "test_elicitation", arguments: { message: "who" } }));
await keep("resource", () => client.readResource({ uri: "test://static-text" }));
await keep("no resource", () => client.readResource({ uri: "test://none" }));
await keep("prompt", () => client.getPrompt({ name: "test_prompt_with_arguments", arguments: { arg1: "x", arg2: "y" } }));
await keep("many", () =>
  Promise.all([...Array(8).keys()].map((a) => client.callTool({ name: "add", arguments: { a, b: 1 } }))),
);
const abort = new AbortController();
const waiting = keep("cancelled", () => client.callTool({ name: "wait", arguments: {} }, undefined, { signal: abort.signal }));
setTimeout(() => abort.abort("enough"), 500);
await waiting;
// Over HTTP the server answers the call all the same, which this client complains of: the next call comes after that.
const answered = () => kind === "stdio" || told.at(-1)[0] === "onerror";
for (let tries = 0; !answered() && tries < 1000; tries++) await new Promise((resolve) => setTimeout(resolve, 10));
await keep("after", () => client.callTool({ name: "add", arguments: { a: 4, b: 5 } }));
await client.close();
console.log(JSON.stringify(told));
