// The client of the TypeScript SDK: starting, describing, listing, schedules, converters; and its test environment.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { ScheduleNotFoundError, ScheduleOverlapPolicy, WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { NativeConnection, Worker } from '@temporalio/worker';

import { activities, address, eventually, find, start, unique, workflowBundle } from './support.js';

let env;
before(async () => {
  env = await start();
  await env.connection.operatorService.addSearchAttributes({ namespace: 'default', searchAttributes: { CompatStage: 2 } });
});
after(async () => await env.stop());

const begin = (workflow, args = [], options = {}) =>
  env.client.workflow.start(workflow, { workflowId: unique(workflow), taskQueue: env.queue, args, ...options });

/** Turns every byte around: enough to see that the server takes what it is given. */
const codec = {
  encode: async (payloads) => payloads.map(({ data, metadata }) => ({ metadata: { ...metadata, turned: Buffer.from('yes') }, data: data.map((byte) => byte ^ 0xff) })),
  decode: async (payloads) => payloads.map(({ data, metadata }) => ({ metadata, data: data.map((byte) => byte ^ 0xff) })),
};

describe('starting', { concurrency: 6 }, () => {
  test('the server tells what it can', async () => {
    const { capabilities } = await env.connection.workflowService.getSystemInfo({});
    assert(capabilities.sdkMetadata && capabilities.upsertMemo && capabilities.supportsSchedules && capabilities.eagerWorkflowStart);
  });

  test('a running workflow is not started again', async () => {
    const handle = await begin('sleeper', [60_000]);
    await assert.rejects(begin('sleeper', [1], { workflowId: handle.workflowId }), WorkflowExecutionAlreadyStartedError);
    await handle.terminate();
  });

  test('a running workflow may be used or replaced', async () => {
    const handle = await begin('sleeper', [60_000]);
    const used = await begin('sleeper', [1], { workflowId: handle.workflowId, workflowIdConflictPolicy: 'USE_EXISTING' });
    assert.equal(used.firstExecutionRunId, handle.firstExecutionRunId);
    const replaced = await begin('sleeper', [1], { workflowId: handle.workflowId, workflowIdConflictPolicy: 'TERMINATE_EXISTING' });
    assert.notEqual(replaced.firstExecutionRunId, handle.firstExecutionRunId);
    assert.equal(await replaced.result(), 'slept');
  });

  test('the id of a closed workflow may be refused', async () => {
    const handle = await begin('sleeper', [1]);
    await handle.result();
    await assert.rejects(begin('sleeper', [1], { workflowId: handle.workflowId, workflowIdReusePolicy: 'REJECT_DUPLICATE' }), WorkflowExecutionAlreadyStartedError);
  });

  test('a start may be delayed', async () => {
    const began = Date.now();
    await (await begin('sleeper', [1], { startDelay: '1s' })).result();
    assert(Date.now() - began >= 950);
  });

  test('what is not there is not found', async () => {
    await assert.rejects(env.client.workflow.getHandle(unique('nothing')).describe(), WorkflowNotFoundError);
  });
});

describe('looking', { concurrency: 6 }, () => {
  test('a description tells how a workflow stands', async () => {
    const handle = await begin('sleeper', [1], { memo: { note: 'remember' }, searchAttributes: { CompatStage: ['first'] } });
    await handle.result();
    const told = await handle.describe();
    assert.deepEqual(
      [told.workflowId, told.type, told.taskQueue, told.status.name, told.memo, told.searchAttributes.CompatStage],
      [handle.workflowId, 'sleeper', env.queue, 'COMPLETED', { note: 'remember' }, ['first']]
    );
    assert.equal(told.historyLength, (await handle.fetchHistory()).events.length);
  });

  test('workflows are listed and counted', async () => {
    const type = 'patched';
    await Promise.all([1, 2, 3].map(async () => (await begin(type)).result()));
    const query = `TaskQueue = "${env.queue}" AND WorkflowType = "${type}" AND ExecutionStatus = "Completed"`;
    await eventually(async () => (await env.client.workflow.count(query)).count === 3);
    const found = [];
    for await (const info of env.client.workflow.list({ query, pageSize: 2 })) found.push(info.type);
    assert.deepEqual(found, [type, type, type]);
  });

  test('memo and search attributes change', async () => {
    const handle = await begin('properties', [], { memo: { stage: 'first', kept: 1 } });
    assert.deepEqual(await handle.result(), { stage: 'second', kept: 1 });
    const told = await handle.describe();
    assert.deepEqual([told.memo, told.searchAttributes.CompatStage], [{ stage: 'second', kept: 1 }, ['second']]);
  });

  test('payloads of a codec are kept as they are', async () => {
    const other = await start({ client: { dataConverter: { payloadCodecs: [codec] } }, worker: { dataConverter: { payloadCodecs: [codec] } } });
    try {
      const handle = await other.client.workflow.start('greeting', { workflowId: unique('turned'), taskQueue: other.queue, args: ['World'] });
      assert.equal(await handle.result(), 'Hello, World!');
      const { input } = await find(handle, 'workflowExecutionStarted');
      assert.equal(Buffer.from(input.payloads[0].metadata.turned).toString(), 'yes');
      assert(!Buffer.from(input.payloads[0].data).toString('latin1').includes('World'));
    } finally {
      await other.stop();
    }
  });
});

describe('schedules', { concurrency: 6 }, () => {
  const schedule = (more = {}) => ({
    scheduleId: unique('schedule'),
    spec: { intervals: [{ every: '1h' }] },
    action: { type: 'startWorkflow', workflowType: 'sleeper', args: [1], taskQueue: env.queue },
    ...more,
  });

  test('a schedule starts its workflow when triggered', async () => {
    const handle = await env.client.schedule.create(schedule());
    await handle.trigger();
    const [action] = await eventually(async () => {
      const { recentActions } = (await handle.describe()).info;
      return recentActions.length ? recentActions : false;
    });
    const run = env.client.workflow.getHandle(action.action.workflow.workflowId);
    assert.equal(await run.result(), 'slept');
    await handle.delete();
    await assert.rejects(handle.describe(), ScheduleNotFoundError);
  });

  test('a schedule starts its workflow by itself', async () => {
    const handle = await env.client.schedule.create(schedule({ spec: { intervals: [{ every: '1s' }] } }));
    await eventually(async () => (await handle.describe()).info.numActionsTaken >= 2);
    await handle.delete();
  });

  test('a schedule is paused, changed and listed', async () => {
    const handle = await env.client.schedule.create(schedule({ policies: { overlap: ScheduleOverlapPolicy.BUFFER_ONE } }));
    await handle.pause('for now');
    const { state, policies } = await handle.describe();
    assert.deepEqual([state.paused, state.note, policies.overlap], [true, 'for now', 'BUFFER_ONE']);
    await handle.unpause();
    await handle.update((before) => ({ ...before, state: { ...before.state, note: 'changed' } }));
    assert.equal((await handle.describe()).state.note, 'changed');
    await eventually(async () => {
      for await (const { scheduleId } of env.client.schedule.list()) if (scheduleId === handle.scheduleId) return true;
      return false;
    });
    await handle.delete();
  });

  test('a schedule catches up', async () => {
    const handle = await env.client.schedule.create(schedule());
    const end = new Date();
    await handle.backfill({ start: new Date(end.getTime() - 3 * 3_600_000), end, overlap: 'ALLOW_ALL' });
    await eventually(async () => (await handle.describe()).info.numActionsTaken === 3);
    await handle.delete();
  });
});

describe('test environment', () => {
  test('it starts Fermata in the place of the development server', async () => {
    const local = await TestWorkflowEnvironment.createLocal({
      server: { executable: { type: 'existing-path', path: process.env.FERMATA_BIN }, namespace: 'of-my-own', log: { format: 'pretty', level: 'warn' } },
    });
    try {
      const taskQueue = unique('local');
      const worker = await Worker.create({ connection: local.nativeConnection, namespace: local.namespace, taskQueue, workflowBundle, activities });
      const greeting = await worker.runUntil(local.client.workflow.execute('greeting', { workflowId: unique('greeting'), taskQueue, args: ['World'] }));
      assert.equal(greeting, 'Hello, World!');
      assert.equal(local.namespace, 'of-my-own');
    } finally {
      await local.teardown();
    }
  });

  test('a worker of an unknown namespace does not run', async () => {
    const connection = await NativeConnection.connect({ address });
    // Without workflows: for them the SDK begins a thread before it asks for the namespace, and leaves it.
    const worker = Worker.create({ connection, namespace: unique('nowhere'), taskQueue: 'nowhere', activities });
    await assert.rejects(async () => await (await worker).run(), /not found/i);
    await connection.close();
  });
});
