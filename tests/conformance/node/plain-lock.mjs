// Leaves versions and hashes in package-lock.json and takes the addresses out: npm finds packages by name.

import { readFileSync, writeFileSync } from "node:fs";

const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
for (const each of Object.values(lock.packages)) {
  delete each.resolved;
  delete each.funding;
}
writeFileSync("package-lock.json", JSON.stringify(lock, null, 2) + "\n");
