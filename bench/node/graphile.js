// graphile-worker at work, as its manual has it: a pool of workers in one
// process, tasks that push by its own helpers.
'use strict'

const { Pool } = require('pg')
const { Logger, makeWorkerUtils, run: startRunner } = require('graphile-worker')
const { order, sleep, Count, Delivery, run } = require('./load')

const AHEAD = 100 // jobs, as with the others
const logger = new Logger(() => () => {})
const pool = new Pool({ max: 2 * order.clients + 4 })
pool.on('error', error => console.error(error))
pool.on('connect', client => client.on('error', error => console.error(error)))

// With batches it takes so many at once into the process, and completes them together.
const preset = order.batch > 1
  ? { worker: { localQueue: { size: order.batch }, completeJobBatchDelay: 0, pollInterval: 100 } }
  : {}

const start = (job) => startRunner({
  pgPool: pool,
  logger,
  concurrency: order.clients,
  noHandleSignals: true,
  crontab: '',
  preset,
  taskList: { job }
})

const queueName = () =>
  order.queues > 1 ? { queueName: 'q' + Math.floor(Math.random() * order.queues) } : {}

const payload = { Ingest: 1 }

async function setup () {
  const utils = await makeWorkerUtils({ pgPool: pool, logger })
  await utils.migrate()
}

// Each job pushes the next one before it ends.
async function cycle () {
  const count = new Count()
  const utils = await makeWorkerUtils({ pgPool: pool, logger })
  for (let n = 0; n < AHEAD; n++) await utils.addJob('job', payload, queueName())
  await start(async (_, helpers) => {
    await helpers.addJob('job', payload, queueName())
    count.done++
  })
  return count.watch()
}

async function batch () {
  const count = new Count()
  const utils = await makeWorkerUtils({ pgPool: pool, logger })
  let pushed = 0
  await start(async () => { count.done++ })
  const pushing = (async () => {
    for (;;) {
      if (pushed - count.done > AHEAD + 2 * order.batch) {
        await sleep(1)
        continue
      }
      await utils.addJobs(Array.from({ length: order.batch }, () => ({ identifier: 'job', payload })))
      pushed += order.batch
    }
  })()
  return Promise.race([count.watch(), pushing])
}

async function latency () {
  const delivery = new Delivery()
  const utils = await makeWorkerUtils({ pgPool: pool, logger })
  await start(async ({ number }) => delivery.take(number))
  for (let n = 0; n < 2 * order.clients; n++) await utils.addJob('job', { number: -1 })
  await sleep(1000)
  return delivery.push(number => utils.addJob('job', { number }))
}

run({ setup, cycle, batch, latency })
