// Workflows, activities, signals, queries and updates of the TypeScript SDK.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { ApplicationFailure, CancelledFailure, TerminatedFailure, TimeoutFailure, TimeoutType } from '@temporalio/common';
import { WithStartWorkflowOperation, WorkflowFailedError, WorkflowUpdateFailedError, QueryNotRegisteredError, WorkflowUpdateStage } from '@temporalio/client';

import { activities, eventually, find, kinds, replay, start, unique } from './support.js';
import * as workflows from './workflows.js';

let env;
before(async () => (env = await start()));
after(async () => await env.stop());

const begin = (workflow, args = [], options = {}) =>
  env.client.workflow.start(workflow, { workflowId: unique(workflow), taskQueue: env.queue, args, ...options });
const result = async (workflow, args, options) => await (await begin(workflow, args, options)).result();
const failure = async (handle) => {
  const error = await handle.result().then(
    () => assert.fail('it succeeded'),
    (error) => error
  );
  assert(error instanceof WorkflowFailedError, `${error}`);
  return error.cause;
};

describe('activities', { concurrency: 6 }, () => {
  test('a workflow runs an activity', async () => {
    const handle = await begin('greeting', ['World']);
    assert.equal(await handle.result(), 'Hello, World!');
    assert.deepEqual(await kinds(handle), [
      'workflowExecutionStarted',
      'activityTaskScheduled',
      'activityTaskStarted',
      'activityTaskCompleted',
      'workflowExecutionCompleted',
    ]);
    await replay(handle);
  });

  test('an activity is told about itself', async () => {
    const handle = await begin('runActivity', ['told', [], { heartbeatTimeout: '7s' }]);
    assert.deepEqual(await handle.result(), {
      attempt: 1,
      activityType: 'told',
      workflowId: handle.workflowId,
      workflowType: 'runActivity',
      taskQueue: env.queue,
      heartbeatTimeoutMs: 7_000,
    });
  });

  test('a failing activity is tried again', async () => {
    const handle = await begin('runActivity', ['fail', [2], {}]);
    assert.equal(await handle.result(), 3);
    const started = await find(handle, 'activityTaskStarted');
    assert.equal(started.attempt, 3);
    assert.equal(started.lastFailure.message, 'attempt 2');
  });

  test('attempts run out, and the last failure is told', async () => {
    const handle = await begin('runActivity', ['fail', [9], { retry: { maximumAttempts: 2, initialInterval: 50 } }]);
    const error = await failure(handle);
    assert.equal(error.retryState, 'MAXIMUM_ATTEMPTS_REACHED');
    assert(error.cause instanceof ApplicationFailure);
    assert.deepEqual([error.cause.message, error.cause.type, error.cause.details], ['attempt 2', 'Unlucky', ['detail', 2]]);
    await replay(handle);
  });

  test('some failures are final', async () => {
    const error = await failure(await begin('runActivity', ['failForGood', [], {}]));
    assert.equal(error.retryState, 'NON_RETRYABLE_FAILURE');
    assert(error.cause.nonRetryable);
  });

  test('a failure may ask for a delay', async () => {
    const began = Date.now();
    assert.equal(await result('runActivity', ['failUntilLater', [], {}]), 2);
    assert(Date.now() - began >= 950);
  });

  test('an attempt times out', async () => {
    const error = await failure(await begin('runActivity', ['hang', [], { startToCloseTimeout: 400, retry: { maximumAttempts: 1 } }]));
    assert(error.cause instanceof TimeoutFailure);
    assert.equal(error.cause.timeoutType, TimeoutType.START_TO_CLOSE);
  });

  test('an activity that nobody takes times out', async () => {
    const handle = await begin('runActivity', ['greet', ['x'], { taskQueue: unique('nobody'), scheduleToStartTimeout: 400 }]);
    assert.equal((await failure(handle)).cause.timeoutType, TimeoutType.SCHEDULE_TO_START);
  });

  test('heartbeats that stay away are noticed', async () => {
    const handle = await begin('runActivity', ['hang', [], { heartbeatTimeout: 400, retry: { maximumAttempts: 1 } }]);
    assert.equal((await failure(handle)).cause.timeoutType, TimeoutType.HEARTBEAT);
  });

  test('the next attempt goes on from the last heartbeat', async () => {
    assert.equal(await result('runActivity', ['remember', [3], { heartbeatTimeout: '10s' }]), 2);
  });

  test('a cancellation reaches an activity by its heartbeat', async () => {
    const handle = await begin('cancelActivity', ['heartbeatUntilCancelled', { heartbeatTimeout: '1s', cancellationType: 'WAIT_CANCELLATION_COMPLETED' }]);
    await eventually(async () => (await handle.describe()).raw.pendingActivities?.[0]?.attempt === 1);
    await handle.signal('cancelActivity');
    assert.equal(await handle.result(), 'cancelled');
    await find(handle, 'activityTaskCanceled');
    await replay(handle);
  });

  for (const by of ['token', 'id']) {
    test(`an activity is completed from elsewhere by ${by}`, async () => {
      const handle = await begin('runActivity', ['completeElsewhere', [], { startToCloseTimeout: '60s' }]);
      const { token, activityId } = await eventually(() => activities.tokens.get(handle.workflowId));
      const key = by === 'token' ? token : { workflowId: handle.workflowId, activityId };
      await env.client.activity.heartbeat(key, 'working');
      await env.client.activity.complete(key, 'done elsewhere');
      assert.equal(await handle.result(), 'done elsewhere');
    });
  }

  test('local activities are markers', async () => {
    const handle = await begin('runLocally', [2]);
    assert.equal(await handle.result(), 3);
    assert.deepEqual(await kinds(handle), ['workflowExecutionStarted', 'markerRecorded', 'workflowExecutionCompleted']);
    await replay(handle);
  });

  test('thirty activities at once', async () => {
    const handle = await begin('parallel', [30]);
    assert.deepEqual(
      await handle.result(),
      Array.from({ length: 30 }, (_, n) => `Hello, ${n}!`)
    );
    await replay(handle);
  });

  test('bytes pass unchanged', async () => {
    const data = Uint8Array.from([0, 1, 254, 255]);
    const handle = await begin('bytesThrough', [data]);
    assert.deepEqual(Uint8Array.from(await handle.result()), Uint8Array.from([255, 254, 1, 0]));
    const { input } = await find(handle, 'workflowExecutionStarted');
    assert.equal(Buffer.from(input.payloads[0].metadata.encoding).toString(), 'binary/plain');
  });
});

describe('timers, signals, queries', { concurrency: 6 }, () => {
  test('a timer fires', async () => {
    const handle = await begin('sleeper', [300]);
    assert.equal(await handle.result(), 'slept');
    assert.deepEqual(await kinds(handle), ['workflowExecutionStarted', 'timerStarted', 'timerFired', 'workflowExecutionCompleted']);
  });

  test('a condition may give up', async () => {
    assert.equal(await result('impatient'), false);
  });

  test('signals come in order', async () => {
    const handle = await begin('collect', [20]);
    const texts = Array.from({ length: 20 }, (_, n) => String(n));
    for (const text of texts) await handle.signal('note', text);
    assert.deepEqual(await handle.result(), texts);
    await replay(handle);
  });

  test('a signal may start its workflow', async () => {
    const options = { workflowId: unique('collect'), taskQueue: env.queue, args: [2], signal: 'note' };
    await env.client.workflow.signalWithStart('collect', { ...options, signalArgs: ['one'] });
    const handle = await env.client.workflow.signalWithStart('collect', { ...options, signalArgs: ['two'] });
    assert.deepEqual(await handle.result(), ['one', 'two']);
  });

  test('queries answer, open and closed', async () => {
    const handle = await begin('collect', [2]);
    await handle.signal('note', 'one');
    assert.deepEqual(await eventually(async () => ((await handle.query('noted', '> ')).length === 1 ? handle.query('noted', '> ') : false)), ['> one']);
    await handle.signal('note', 'two');
    await handle.result();
    assert.deepEqual(await handle.query('noted'), ['one', 'two']);
  });

  test('an error in a query reaches its caller', async () => {
    const handle = await begin('collect', [1]);
    await assert.rejects(handle.query('broken'), /no answer/);
    await assert.rejects(handle.query('unknown'), QueryNotRegisteredError);
    await handle.terminate();
  });
});

describe('updates', { concurrency: 6 }, () => {
  test('an update changes and answers', async () => {
    const handle = await begin('account');
    assert.equal(await handle.executeUpdate('deposit', { args: [10] }), 10);
    assert.equal(await handle.executeUpdate('depositLater', { args: [5] }), 15);
    await handle.signal('close');
    assert.equal(await handle.result(), 15);
    await replay(handle);
  });

  test('a rejected update leaves nothing', async () => {
    const handle = await begin('account');
    await handle.executeUpdate('deposit', { args: [1] });
    const written = await kinds(handle);
    await assert.rejects(handle.executeUpdate('deposit', { args: [-1] }), (error) => {
      assert(error instanceof WorkflowUpdateFailedError);
      assert.match(error.cause.message, /nothing to deposit/);
      return true;
    });
    assert.deepEqual(await kinds(handle), written);
    await handle.terminate();
  });

  test('the same id is the same update', async () => {
    const handle = await begin('account');
    const answers = await Promise.all(Array.from({ length: 4 }, () => handle.executeUpdate('deposit', { args: [7], updateId: 'once' })));
    assert.deepEqual(answers, [7, 7, 7, 7]);
    assert.equal(await handle.query('balance'), 7);
    await handle.terminate();
  });

  test('an accepted update is found again by its id', async () => {
    const handle = await begin('account');
    const update = await handle.startUpdate('depositLater', { args: [3], waitForStage: WorkflowUpdateStage.ACCEPTED });
    assert.equal(await handle.getUpdateHandle(update.updateId).result(), 3);
    await handle.terminate();
  });

  test('an update may start its workflow', async () => {
    const workflowId = unique('account');
    for (const expected of [4, 8]) {
      const startWorkflowOperation = new WithStartWorkflowOperation(workflows.account, {
        workflowId,
        taskQueue: env.queue,
        args: [],
        workflowIdConflictPolicy: 'USE_EXISTING',
      });
      const answer = await env.client.workflow.executeUpdateWithStart('deposit', { args: [4], startWorkflowOperation });
      assert.equal(answer, expected);
    }
    const handle = env.client.workflow.getHandle(workflowId);
    await handle.signal('close');
    assert.equal(await handle.result(), 8);
  });
});

describe('ends and chains', { concurrency: 6 }, () => {
  test('a result follows the chain', async () => {
    const handle = await begin('countdown', [2]);
    const { runId, firstExecutionRunId } = await handle.result();
    assert.equal(firstExecutionRunId, handle.firstExecutionRunId);
    assert.notEqual(runId, firstExecutionRunId);
  });

  test('a failure keeps its type and details', async () => {
    const error = await failure(await begin('unlucky', [9]));
    assert.deepEqual([error.message, error.type, error.details], ['attempt 1', 'Unlucky', ['detail']]);
  });

  test('a failed workflow is tried again', async () => {
    assert.equal(await result('unlucky', [1], { retry: { initialInterval: 100 } }), 2);
  });

  test('a cancelled workflow cleans up', async () => {
    const handle = await begin('cleanUp');
    await eventually(async () => (await kinds(handle)).includes('timerStarted'));
    await handle.cancel();
    assert((await failure(handle)) instanceof CancelledFailure);
    assert.deepEqual(await kinds(handle), [
      'workflowExecutionStarted',
      'timerStarted',
      'workflowExecutionCancelRequested',
      'timerCanceled',
      'activityTaskScheduled',
      'activityTaskStarted',
      'activityTaskCompleted',
      'workflowExecutionCanceled',
    ]);
    await replay(handle);
  });

  test('a workflow is terminated', async () => {
    const handle = await begin('sleeper', [60_000]);
    await handle.terminate('enough');
    const error = await failure(handle);
    assert(error instanceof TerminatedFailure);
    assert.equal((await find(handle, 'workflowExecutionTerminated')).reason, 'enough');
  });

  test('a workflow times out', async () => {
    assert((await failure(await begin('sleeper', [60_000], { workflowRunTimeout: '1s' }))) instanceof TimeoutFailure);
  });

  test('a cron workflow hands its result on', async () => {
    const handle = await begin('lastResult', [], { cronSchedule: '@every 1s' });
    const chain = env.client.workflow.getHandle(handle.workflowId);
    await eventually(async () => {
      const { lastCompletionResult } = await find(chain, 'workflowExecutionStarted');
      return Buffer.from(lastCompletionResult?.payloads?.[0]?.data ?? '').toString() === '1';
    });
    await chain.terminate();
  });

  test('patches are markers', async () => {
    const handle = await begin('patched');
    assert.equal(await handle.result(), 'new');
    assert.equal((await find(handle, 'markerRecorded')).markerName, 'core_patch');
    await replay(handle);
  });

  test('chance is the same in a replay', async () => {
    const handle = await begin('chance');
    assert.equal(new Set(await handle.result()).size, 4);
    await replay(handle);
  });
});

describe('children and others', { concurrency: 6 }, () => {
  test('a child gives its result', async () => {
    const workflowId = unique('child');
    const handle = await begin('parent', ['greeting', ['child'], { workflowId }]);
    assert.equal(await handle.result(), 'Hello, child!');
    const described = await env.client.workflow.getHandle(workflowId).describe();
    assert.equal(described.parentExecution.workflowId, handle.workflowId);
    assert.equal(described.rootExecution.workflowId, handle.workflowId);
    await replay(handle);
  });

  test('the failure of a child is told', async () => {
    const handle = await begin('parentOfUnlucky', [unique('child')]);
    assert.deepEqual(await handle.result(), ['ChildWorkflowFailure', 'Unlucky', 'attempt 1']);
  });

  for (const [policy, status] of [
    ['TERMINATE', 'TERMINATED'],
    ['REQUEST_CANCEL', 'CANCELLED'],
    ['ABANDON', 'RUNNING'],
  ]) {
    test(`a child whose parent ends: ${policy}`, async () => {
      const workflowId = unique('child');
      await result('parentThatLeaves', [workflowId, policy]);
      const child = env.client.workflow.getHandle(workflowId);
      await eventually(async () => (await child.describe()).status.name === status);
      if (policy === 'ABANDON') await child.terminate();
    });
  }

  test('a workflow signals another', async () => {
    const other = await begin('collect', [1]);
    await result('signalOther', [other.workflowId, 'hello']);
    assert.deepEqual(await other.result(), ['hello']);
  });

  test('a workflow cancels another', async () => {
    const other = await begin('sleeper', [60_000]);
    await result('cancelOther', [other.workflowId]);
    assert((await failure(other)) instanceof CancelledFailure);
  });

  test('a workflow that is not there is told', async () => {
    assert.match((await failure(await begin('signalOther', [unique('nothing'), 'x']))).message, /not found/i);
  });
});
