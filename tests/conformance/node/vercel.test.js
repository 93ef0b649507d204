// The Vercel AI SDK through both of its providers for this API: openai-compatible, and openai's chat model.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import { baseURL, counting, key, keyWithoutCredits, wrongKey } from "./surroundings.js";

const PROVIDERS = {
  "openai-compatible": (apiKey = key, options = {}) => {
    const given = { name: "muhgpt", baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true, ...options };
    return createOpenAICompatible(given)("muh-chat");
  },
  openai: (apiKey = key, options = {}) => createOpenAI({ baseURL, apiKey, ...options }).chat("muh-chat"),
};
const weather = tool({
  description: "The weather of a city",
  inputSchema: z.object({ city: z.string().max(20) }),
  execute: async () => ({ weather: "sunny" }),
});
const Report = z.object({
  mood: z.enum(["good", "bad"]),
  steps: z.array(z.object({ number: z.number().int().min(0).max(99), done: z.boolean() })).max(3),
});

function assertUsage(usage) {
  assert.ok(usage.inputTokens >= 1);
  assert.ok(usage.outputTokens >= 1);
  assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
}

for (const [name, model] of Object.entries(PROVIDERS)) {
  test(`${name}: generateText answers with its usage`, async () => {
    const answer = await generateText({ model: model(), prompt: "Hello!", maxOutputTokens: 50 });
    assert.ok(answer.text);
    assert.ok(["stop", "length"].includes(answer.finishReason));
    assert.deepEqual(answer.warnings ?? [], []);
    assertUsage(answer.usage);
  });

  test(`${name}: streamText streams with its usage`, async () => {
    const errors = [];
    const stream = streamText({ model: model(), prompt: "Write a haiku", onError: (event) => errors.push(event.error) });
    let text = "";
    for await (const piece of stream.textStream) text += piece;
    assert.deepEqual(errors, []);
    assert.equal(text, await stream.text);
    assert.ok(text);
    assert.ok(["stop", "length"].includes(await stream.finishReason));
    assertUsage(await stream.usage);
  });

  test(`${name}: a forced tool is called, run and its result sent back`, async () => {
    const answer = await generateText({
      model: model(),
      system: "You are brief.",
      prompt: "Weather in Lisbon?",
      tools: { weather },
      stopWhen: stepCountIs(2),
      prepareStep: ({ stepNumber }) => ({
        toolChoice: stepNumber === 0 ? { type: "tool", toolName: "weather" } : "none",
      }),
    });
    const [first, second] = answer.steps;
    assert.equal(first.finishReason, "tool-calls");
    assert.equal(typeof first.toolCalls[0].input.city, "string");
    assert.deepEqual(first.toolResults[0].output, { weather: "sunny" });
    assert.equal(second.toolCalls.length, 0);
    assert.ok(second.text);
  });

  test(`${name}: a required tool is called in a stream`, async () => {
    const stream = streamText({
      model: model(),
      prompt: "Weather in Lisbon?",
      tools: { weather: tool({ description: "The weather", inputSchema: weather.inputSchema }) },
      toolChoice: "required",
    });
    const parts = [];
    for await (const part of stream.fullStream) parts.push(part);
    assert.deepEqual(parts.filter((part) => part.type === "error"), []);
    const [call] = parts.filter((part) => part.type === "tool-call");
    assert.equal(call.toolName, "weather");
    assert.equal(typeof call.input.city, "string");
    assert.equal(await stream.finishReason, "tool-calls");
  });

  test(`${name}: structured output fits its schema, whole and streamed`, async () => {
    const output = Output.object({ schema: Report });
    const answer = await generateText({ model: model(), prompt: "Hello!", output });
    assert.deepEqual(Report.parse(answer.output), answer.output);
    const stream = streamText({ model: model(), prompt: "Hello!", output });
    for await (const part of stream.partialOutputStream) assert.equal(typeof part, "object");
    Report.parse(await stream.output);
  });

  test(`${name}: errors have their status and only some are retried`, async () => {
    for (const [apiKey, status] of [[wrongKey, 401], [keyWithoutCredits, 402]]) {
      const counted = counting();
      const asked = generateText({ model: model(apiKey, { fetch: counted }), prompt: "Hello!", maxRetries: 2 });
      await assert.rejects(asked, (error) => {
        assert.ok(APICallError.isInstance(error), `${error}`);
        assert.equal(error.statusCode, status);
        assert.ok(error.message && error.message !== "Unauthorized");
        return true;
      });
      assert.equal(counted.requests, 1);
    }
    await assert.rejects(generateText({ model: model(), prompt: "Hello!", temperature: 3 }), /temperature/);
  });

  test(`${name}: an aborted stream harms nothing`, async () => {
    const controller = new AbortController();
    const stream = streamText({ model: model(), prompt: "Tell me a story", abortSignal: controller.signal });
    for await (const piece of stream.textStream) {
      assert.ok(piece);
      controller.abort();
      break;
    }
    assert.ok((await generateText({ model: model(), prompt: "Hello!", maxOutputTokens: 3 })).text);
  });
}
