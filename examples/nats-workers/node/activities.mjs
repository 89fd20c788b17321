// Activities are plain async functions: they get their task and the values that the workflow gave.
import { setTimeout as sleep } from "node:timers/promises";

export const activities = {
  greet: async (task, name) => ({ greeting: `Hello ${name}`, by: "node" }),
  fail_once: async (task, name) => {
    if (task.attempt === 1) throw new Error(`${name} is not ready`);
    return `${name} at attempt ${task.attempt}`;
  },
  take_time: async (task, seconds) => {
    await sleep(seconds * 1000);
    return task.attempt;
  },
  wait_for_cancel: (task) => sleep(3_600_000, null, { signal: task.signal }), // a cancel request ends it: AbortError
};

export const unknown = async (task) => {
  throw new Error(`activity type ${task.activity_type.name} is not registered with this worker`);
};
