// `node worker.js <address> <task queue>`: activities in TypeScript for workflows in other languages.

import { ApplicationFailure } from '@temporalio/common';
import { NativeConnection, Worker } from '@temporalio/worker';

const [address, taskQueue] = process.argv.slice(2);

const activities = {
  async describe({ item, cents, by, tags }) {
    return { text: `${item} for ${(cents / 100).toFixed(2)} (${tags.join(', ')})`, pricedBy: by };
  },

  async refuse({ item }) {
    throw ApplicationFailure.nonRetryable(`no ${item} here`, 'Elsewhere', { item });
  },

  async turn(bytes) {
    return Uint8Array.from(bytes).reverse();
  },
};

const connection = await NativeConnection.connect({ address });
const worker = await Worker.create({ connection, taskQueue, activities });
await worker.run();
await connection.close();
