import * as wf from '@temporalio/workflow';

const patient = wf.proxyActivities({ startToCloseTimeout: '10s', retry: { initialInterval: '50ms', backoffCoefficient: 1 } });

export async function greeting(name) {
  return await patient.greet(name);
}

export async function runActivity(name, args, options) {
  const activities = wf.proxyActivities({ startToCloseTimeout: '10s', retry: { initialInterval: '50ms', backoffCoefficient: 1 }, ...options });
  return await activities[name](...args);
}

export async function runLocally(times) {
  const { fail } = wf.proxyLocalActivities({ startToCloseTimeout: '10s', retry: { initialInterval: '50ms', backoffCoefficient: 1 } });
  return await fail(times);
}

export async function parallel(count) {
  return await Promise.all(Array.from({ length: count }, (_, n) => patient.greet(String(n))));
}

export const cancelActivitySignal = wf.defineSignal('cancelActivity');

/** Starts an activity, cancels it when told to, and gives how it ended. */
export async function cancelActivity(name, options) {
  const activities = wf.proxyActivities({ startToCloseTimeout: '60s', ...options });
  const scope = new wf.CancellationScope();
  wf.setHandler(cancelActivitySignal, () => scope.cancel());
  try {
    return await scope.run(() => activities[name]());
  } catch (error) {
    return wf.isCancellation(error) ? 'cancelled' : `${error}`;
  }
}

export async function sleeper(ms) {
  await wf.sleep(ms);
  return 'slept';
}

/** Waits without end; cleans up when it is cancelled. */
export async function cleanUp() {
  try {
    await wf.sleep('1h');
  } catch (error) {
    await wf.CancellationScope.nonCancellable(() => patient.greet('cleaner'));
    throw error;
  }
}

export const note = wf.defineSignal('note');
export const noted = wf.defineQuery('noted');
export const broken = wf.defineQuery('broken');

export async function collect(count) {
  const received = [];
  wf.setHandler(note, (text) => void received.push(text));
  wf.setHandler(noted, (prefix = '') => received.map((text) => prefix + text));
  wf.setHandler(broken, () => {
    throw new Error('no answer');
  });
  await wf.condition(() => received.length >= count);
  return received;
}

export async function impatient() {
  return await wf.condition(() => false, '200ms');
}

export const deposit = wf.defineUpdate('deposit');
export const depositLater = wf.defineUpdate('depositLater');
export const close = wf.defineSignal('close');
export const balance = wf.defineQuery('balance');

export async function account() {
  let amount = 0;
  let isOpen = true;
  wf.setHandler(deposit, (more) => (amount += more), {
    validator: (more) => {
      if (more <= 0) throw new Error('nothing to deposit');
    },
  });
  wf.setHandler(depositLater, async (more) => {
    await wf.sleep(200);
    return (amount += more);
  });
  wf.setHandler(close, () => void (isOpen = false));
  wf.setHandler(balance, () => amount);
  await wf.condition(() => !isOpen && wf.allHandlersFinished());
  return amount;
}

export async function countdown(left) {
  if (left > 0) await wf.continueAsNew(left - 1);
  const { runId, firstExecutionRunId } = wf.workflowInfo();
  return { runId, firstExecutionRunId };
}

export async function unlucky(times) {
  const { attempt } = wf.workflowInfo();
  if (attempt <= times) throw wf.ApplicationFailure.create({ message: `attempt ${attempt}`, type: 'Unlucky', details: ['detail'] });
  return attempt;
}

export async function parent(child, args, options) {
  return await wf.executeChild(child, { args, ...options });
}

export async function parentOfUnlucky(id) {
  try {
    return await wf.executeChild(unlucky, { args: [9], workflowId: id });
  } catch (error) {
    return [error.name, error.cause.type, error.cause.message];
  }
}

export async function parentThatLeaves(id, parentClosePolicy) {
  const child = await wf.startChild(sleeper, { args: [60_000], workflowId: id, parentClosePolicy });
  return child.firstExecutionRunId;
}

export async function signalOther(id, text) {
  await wf.getExternalWorkflowHandle(id).signal(note, text);
}

export async function cancelOther(id) {
  await wf.getExternalWorkflowHandle(id).cancel();
}

export async function properties() {
  wf.upsertMemo({ stage: 'second' });
  wf.upsertSearchAttributes({ CompatStage: ['second'] });
  return wf.workflowInfo().memo;
}

export async function patched() {
  return wf.patched('a-patch') ? 'new' : 'old';
}

export async function chance() {
  const before = [wf.uuid4(), Math.random()];
  await wf.sleep(10);
  return [...before, wf.uuid4(), Date.now()];
}

export async function lastResult() {
  return (wf.workflowInfo().lastResult ?? 0) + 1;
}

export async function bytesThrough(data) {
  return await patient.bytes(data);
}
