// Where the platform is and who may use it, as the runner tells every client by the environment.

const { env } = process;

export const baseURL = env.CONFORMANCE_BASE_URL;
export const key = env.CONFORMANCE_KEY;
export const keyWithoutCredits = env.CONFORMANCE_KEY_WITHOUT_CREDITS;
export const keyOfOneModel = env.CONFORMANCE_KEY_OF_ONE_MODEL;
export const keyOfOneRequest = env.CONFORMANCE_KEY_OF_ONE_REQUEST;
export const wrongKey = "mghp_" + "a".repeat(36);

export const HELLO = [{ role: "user", content: "Hello!" }];
export const HAIKU = [{ role: "user", content: "Write a haiku" }];
export const LISBON = [{ role: "user", content: "Weather in Lisbon?" }];

// A fetch that counts the requests made with it.
export function counting() {
  const counted = async (...given) => {
    counted.requests += 1;
    return fetch(...given);
  };
  counted.requests = 0;
  return counted;
}
