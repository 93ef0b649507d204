// Writes counts.json: what gpt-tokenizer (npm, MIT), another implementation with ranks of its own, counts. Run by hand:
//
//   npm install --prefix DIRECTORY gpt-tokenizer@4.0.0
//   node tests/token_counts/make_counts.mjs DIRECTORY
//
// `texts` are prompts and their parts; `answers` are what the tests' upstream streams, counted after each of its pieces.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(join(resolve(process.argv[2]), "package.json"));
const encodings = {
  o200k_base: require("gpt-tokenizer/encoding/o200k_base"),
  cl100k_base: require("gpt-tokenizer/encoding/cl100k_base"),
};
const read = (name) => JSON.parse(readFileSync(join(here, name), "utf8"));
const count = (text) =>
  Object.fromEntries(
    Object.entries(encodings).map(([name, encoding]) => [name, encoding.encode(text, { disallowedSpecial: new Set() }).length]),
  );

const texts = Object.fromEntries(["user", "system", "assistant", "tool", ...read("texts.json")].map((text) => [text, count(text)]));
const answers = read("answers.json").map((pieces) => ({
  pieces,
  counts: pieces.map((_, end) => count(pieces.slice(0, end + 1).join(""))),
}));
// OpenAI Cookbook, "How to count tokens with tiktoken", section 6: tokens_per_message, tokens_per_name, and the reply's.
const framing = { message: 3, name: 1, reply: 3 };
writeFileSync(join(here, "counts.json"), JSON.stringify({ framing, texts, answers }, null, 1) + "\n");
