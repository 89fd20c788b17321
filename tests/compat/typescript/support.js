// What the cases share: one connection, one worker with all workflows and activities, histories and waiting.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';

import { Client, Connection } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';

import * as activities from './activities.js';

export { activities };
export const address = process.env.FERMATA_ADDRESS;
assert(address, 'FERMATA_ADDRESS names the server');

Runtime.install({ logger: new DefaultLogger('ERROR'), telemetryOptions: { logging: { forward: {}, filter: 'ERROR' } } });

export const unique = (what) => `${what}-${randomUUID().slice(0, 12)}`;

export const workflowBundle = await bundleWorkflowCode({
  workflowsPath: fileURLToPath(new URL('./workflows.js', import.meta.url)),
  logger: new DefaultLogger('ERROR'),
});

/** A client, and a worker that runs until `stop`. */
export async function start(options = {}) {
  const [connection, native] = await Promise.all([Connection.connect({ address }), NativeConnection.connect({ address })]);
  const client = new Client({ connection, ...options.client });
  const queue = unique('queue');
  const worker = await Worker.create({ connection: native, taskQueue: queue, workflowBundle, activities, shutdownForceTime: '3s', ...options.worker });
  const running = worker.run();
  const stop = async () => {
    worker.shutdown();
    await running;
    await native.close();
    await connection.close();
  };
  return { client, connection, native, queue, stop };
}

/** Repeats `check` until it gives something true. */
export async function eventually(check, seconds = 15) {
  const end = Date.now() + seconds * 1_000;
  for (;;) {
    const result = await check();
    if (result) return result;
    assert(Date.now() < end, `still ${result} after ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The types of a history's events, without those of workflow tasks; ids are checked on the way. */
export async function kinds(handle) {
  const { events } = await handle.fetchHistory();
  assert.deepEqual(
    events.map((event) => Number(event.eventId)),
    events.map((_, index) => index + 1)
  );
  const names = events.map((event) =>
    Object.keys(event)
      .find((key) => key.endsWith('EventAttributes') && event[key])
      .replace(/EventAttributes$/, '')
  );
  return names.filter((name) => !name.startsWith('workflowTask'));
}

/** The attributes of the only event of a kind. */
export async function find(handle, kind) {
  const { events } = await handle.fetchHistory();
  const found = events.map((event) => event[`${kind}EventAttributes`]).filter(Boolean);
  assert.equal(found.length, 1, `${found.length} events ${kind}`);
  return found[0];
}

/** The SDK's replay finds that the code gives the commands of this history. */
export async function replay(handle) {
  await Worker.runReplayHistory({ workflowBundle, replayName: unique('replay') }, await handle.fetchHistory(), handle.workflowId);
}
