import { ApplicationFailure, CancelledFailure, CompleteAsyncError, Context, heartbeat, activityInfo, sleep } from '@temporalio/activity';

export const tokens = new Map();

export async function greet(name) {
  return `Hello, ${name}!`;
}

export async function told() {
  const { attempt, activityType, workflowExecution, workflowType, taskQueue, heartbeatTimeoutMs } = activityInfo();
  return { attempt, activityType, workflowId: workflowExecution.workflowId, workflowType, taskQueue, heartbeatTimeoutMs };
}

export async function fail(times) {
  const { attempt } = activityInfo();
  if (attempt <= times) {
    throw ApplicationFailure.create({ message: `attempt ${attempt}`, type: 'Unlucky', details: ['detail', attempt] });
  }
  return attempt;
}

export async function failForGood() {
  throw ApplicationFailure.nonRetryable('for good', 'Hopeless');
}

export async function failUntilLater() {
  if (activityInfo().attempt === 1) {
    throw ApplicationFailure.create({ message: 'later', nextRetryDelay: '1s' });
  }
  return activityInfo().attempt;
}

export async function hang() {
  await sleep('1h');
}

/** Fails at each step and goes on from what the last attempt told. */
export async function remember(upto) {
  const last = activityInfo().heartbeatDetails ?? 0;
  heartbeat(last + 1);
  if (last + 1 < upto) throw new Error(`at step ${last + 1}`);
  return last;
}

export async function heartbeatUntilCancelled() {
  try {
    for (;;) {
      heartbeat();
      await sleep(100);
    }
  } catch (error) {
    if (error instanceof CancelledFailure) throw error;
    return `ended by ${error}`;
  }
}

export async function completeElsewhere() {
  const { workflowExecution, activityId } = activityInfo();
  tokens.set(workflowExecution.workflowId, { token: Context.current().info.taskToken, activityId });
  throw new CompleteAsyncError();
}

export async function bytes(data) {
  return Uint8Array.from(data).reverse();
}
