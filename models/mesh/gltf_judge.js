// What both engines run on one GLB: the Khronos validator, and of its report what people need.
//
// The validator stops at `maxIssues`, in the order of the file, so that a million hints could hide one error. When that
// happens before any error was met, it runs again without the kinds that were met: each kind has one severity, and
// there are few, so this ends.
const MOST_ISSUES = 10000;
const SHOWN = 10;

async function judge(validator, bytes) {
  const counts = [0, 0, 0, 0];  // by severity: errors, warnings, infos, hints
  const worst = [];
  const ignored = new Set();
  let truncated = false;
  for (;;) {
    const { issues } = await validator.validateBytes(bytes, {
      format: "glb", maxIssues: MOST_ISSUES, writeTimestamp: false, ignoredIssues: [...ignored],
    });
    for (const { severity, code, message, pointer } of issues.messages) {
      counts[severity] += 1;
      ignored.add(code);
      worst.push({ severity, code, message, pointer: pointer ?? "" });
    }
    worst.sort((one, other) => one.severity - other.severity).splice(SHOWN);
    truncated ||= issues.truncated;
    if (!issues.truncated || counts[0] > 0) break;
  }
  return JSON.stringify({ version: validator.version(), counts, truncated, messages: worst });
}
