// Runs the Khronos glTF validator on the files named on the command line; prints one JSON report a line.
import { readFileSync } from "node:fs";
import validator from "gltf-validator";

for (const path of process.argv.slice(2)) {
  const { issues } = await validator.validateBytes(new Uint8Array(readFileSync(path)), {
    uri: path,
    maxIssues: 20,
  });
  console.log(JSON.stringify({ path, ...issues }));
}
