// The official Node SDK: the reference's examples, tools, structured output, helpers and error classes.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import {
  baseURL, counting, HAIKU, HELLO, key, keyOfOneModel, keyOfOneRequest, keyWithoutCredits, LISBON, wrongKey,
} from "./surroundings.js";

const client = sdk();
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: {
      type: "object",
      properties: { city: { type: "string", maxLength: 20 } },
      required: ["city"],
      additionalProperties: false,
    },
  },
};
const NAMED = { type: "function", function: { name: "get_weather" } };
const Report = z.object({
  mood: z.enum(["good", "bad"]),
  steps: z.array(z.object({ number: z.number().int().min(0).max(99), done: z.boolean() })).max(3),
  note: z.boolean().nullable(),
});

function sdk(apiKey = key, options = {}) {
  return new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000, ...options });
}

function ask(fields = {}, of = client, options = {}) {
  return of.chat.completions.create({ model: "muh-chat", messages: HELLO, ...fields }, options);
}

async function refused(apiKey, kind, status, fields = {}) {
  let found;
  for (const stream of [false, true]) {
    await assert.rejects(ask({ stream, ...fields }, sdk(apiKey)), (error) => {
      assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
      assert.equal(error.status, status);
      assert.deepEqual(Object.keys(error.error).sort(), ["code", "message", "param", "type"]);
      assert.match(error.requestID, /^req_/);
      found = error;
      return true;
    });
  }
  return found;
}

test("the quickstart of the reference prints an answer", async () => {
  const resp = await client.chat.completions.create({
    model: "muh-chat",
    messages: [{ role: "user", content: "Hello!" }],
  });
  assert.ok(resp.choices[0].message.content);
  assert.equal(resp.usage.total_tokens, resp.usage.prompt_tokens + resp.usage.completion_tokens);
  assert.match(resp._request_id, /^req_/);
});

test("every chunk of a stream has a choice and the last has the usage", async () => {
  const chunks = [];
  for await (const chunk of await ask({ messages: HAIKU, stream: true })) chunks.push(chunk);
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.ok(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""));
  assert.ok(["stop", "length"].includes(chunks.at(-1).choices[0].finish_reason));
  assert.ok(chunks.at(-1).usage.completion_tokens >= 1);
});

test("include_usage is OpenAI's form", async () => {
  const chunks = [];
  for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.completion_tokens >= 1);
  assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
});

test("n and logprobs", async () => {
  const answer = await ask({ n: 2, logprobs: true, top_logprobs: 2, max_tokens: 4 });
  assert.equal(answer.choices.length, 2);
  for (const choice of answer.choices) {
    const bytes = choice.logprobs.content.flatMap((token) => token.bytes);
    assert.equal(Buffer.from(bytes).toString(), choice.message.content);
    assert.ok(choice.logprobs.content.every((token) => token.top_logprobs.length === 2));
  }
});

test("a seed gives the same answer and usage streamed and not", async () => {
  const fields = { messages: HAIKU, seed: 5, temperature: 1, max_tokens: 60 };
  const whole = await ask(fields);
  const streamed = await client.chat.completions.stream({ model: "muh-chat", ...fields }).finalChatCompletion();
  assert.equal(streamed.choices[0].message.content, whole.choices[0].message.content);
  const withUsage = await client.chat.completions
    .stream({ model: "muh-chat", ...fields, stream_options: { include_usage: true } })
    .finalChatCompletion();
  assert.deepEqual(withUsage.usage, whole.usage);
});

test("the stream helper gives its events and the whole answer", async () => {
  const stream = client.chat.completions.stream({ model: "muh-chat", messages: HAIKU });
  let text = "";
  stream.on("content", (delta) => (text += delta));
  const final = await stream.finalChatCompletion();
  assert.equal(text, final.choices[0].message.content);
  assert.ok(["stop", "length"].includes(final.choices[0].finish_reason));
});

for (const stream of [false, true]) {
  const way = stream ? "streamed" : "whole";

  test(`a named function is called, ${way}`, async () => {
    const fields = { model: "muh-chat", messages: LISBON, tools: [WEATHER], tool_choice: NAMED };
    const answer = stream
      ? await client.chat.completions.stream(fields).finalChatCompletion()
      : await client.chat.completions.create(fields);
    const [call] = answer.choices[0].message.tool_calls;
    assert.equal(answer.choices[0].finish_reason, "tool_calls");
    assert.equal(answer.choices[0].message.content || null, null);
    assert.equal(call.function.name, "get_weather");
    assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ["city"]);
  });

  test(`required, none and auto do what they say, ${way}`, async () => {
    for (const tool_choice of ["required", "none", "auto"]) {
      const fields = { model: "muh-chat", messages: LISBON, tools: [WEATHER], tool_choice, max_tokens: 200 };
      const answer = stream
        ? await client.chat.completions.stream(fields).finalChatCompletion()
        : await client.chat.completions.create(fields);
      const calls = answer.choices[0].message.tool_calls ?? [];
      if (tool_choice === "required") assert.equal(calls.length, 1);
      if (tool_choice === "none") assert.equal(calls.length, 0);
      assert.equal(answer.choices[0].finish_reason === "tool_calls", calls.length > 0);
    }
  });

  test(`parse gives what the zod schema says, ${way}`, async () => {
    const fields = { model: "muh-chat", messages: HELLO, response_format: zodResponseFormat(Report, "report") };
    const answer = stream
      ? await client.chat.completions.stream(fields).finalChatCompletion()
      : await client.chat.completions.parse(fields);
    assert.deepEqual(Report.parse(answer.choices[0].message.parsed), answer.choices[0].message.parsed);
  });
}

test("a zod function's arguments are parsed", async () => {
  const parameters = z.object({ city: z.string().max(20) });
  const answer = await client.chat.completions.parse({
    model: "muh-chat",
    messages: LISBON,
    tools: [zodFunction({ name: "get_weather", parameters })],
    tool_choice: NAMED,
  });
  const [call] = answer.choices[0].message.tool_calls;
  assert.equal(typeof call.function.parsed_arguments.city, "string");
});

for (const stream of [false, true]) {
  test(`runTools calls the function and goes on with its result, ${stream ? "streamed" : "whole"}`, async () => {
    const asked = [];
    const runner = client.chat.completions.runTools(
      {
        model: "muh-chat",
        messages: LISBON,
        stream,
        tool_choice: NAMED,
        tools: [
          {
            type: "function",
            function: {
              ...WEATHER.function,
              parse: JSON.parse,
              function: (given) => {
                asked.push(given);
                return '{"weather": "sunny"}';
              },
            },
          },
        ],
      },
      { maxChatCompletions: 2 },
    );
    await runner.done();
    assert.equal(typeof asked[0].city, "string");
    assert.ok(runner.messages.some((message) => message.role === "tool"));
  });
}

test("every error is the SDK's class for it", async () => {
  assert.equal((await refused(wrongKey, OpenAI.AuthenticationError, 401)).code, "invalid_api_key");
  assert.equal((await refused(keyWithoutCredits, OpenAI.APIError, 402)).type, "insufficient_quota");
  assert.equal((await refused(keyOfOneModel, OpenAI.PermissionDeniedError, 403)).type, "model_not_allowed");
  assert.equal((await refused(key, OpenAI.NotFoundError, 404, { model: "gpt-17" })).code, "model_not_found");
  const huge = [{ role: "user", content: "a".repeat(21 * 1024 * 1024) }];
  assert.equal((await refused(key, OpenAI.APIError, 413, { messages: huge })).code, "request_too_large");
  assert.equal((await refused(key, OpenAI.BadRequestError, 400, { temperature: 3 })).param, "temperature");
});

test("a 429 is retried when the server said, and nothing else is", async (context) => {
  const limited = counting();
  const impatient = sdk(keyOfOneRequest, { fetch: limited });
  await ask({ max_tokens: 1 }, impatient);
  const waits = [];
  const real = globalThis.setTimeout;
  context.mock.method(globalThis, "setTimeout", (what, wait, ...rest) => {
    if (wait !== 60_000) waits.push(wait); // the request's own time-out is 60 s
    return real(what, wait === 60_000 ? wait : 0, ...rest);
  });
  await assert.rejects(ask({ max_tokens: 1 }, impatient, { maxRetries: 1 }), OpenAI.RateLimitError);
  assert.equal(limited.requests, 3);
  const [wait] = waits.filter((each) => each > 1000);
  assert.ok(wait > 1000 && wait <= 60_000, `${waits}`);
  for (const [apiKey, fields] of [[keyWithoutCredits, {}], [wrongKey, {}], [key, { n: 0 }]]) {
    const counted = counting();
    await assert.rejects(ask(fields, sdk(apiKey, { fetch: counted }), { maxRetries: 3 }), OpenAI.APIError);
    assert.equal(counted.requests, 1);
  }
});

test("models, headers, an abort and the SDK's own time-out", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.deepEqual(ids.sort(), ["gpt-3.5-turbo", "gpt-4o", "gpt-4o-mini", "muh-chat"]);
  assert.equal((await client.models.retrieve("gpt-4o")).id, "gpt-4o");
  const { response } = await ask({ max_tokens: 3 }).withResponse();
  assert.equal(response.headers.get("x-muhgpt-max-tokens"), "3");
  const stream = await ask({ messages: [{ role: "user", content: "Tell me a story" }], stream: true });
  for await (const chunk of stream) {
    assert.equal(chunk.choices[0].delta.role, "assistant");
    break; // leaving the loop aborts the request
  }
  await assert.rejects(ask({}, client, { timeout: 1 }), OpenAI.APIConnectionTimeoutError);
  assert.ok((await ask({ max_tokens: 2 })).choices.length);
});
