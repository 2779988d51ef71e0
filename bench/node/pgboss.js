// pg-boss at work: jobs are taken by fetch, which is as fast as it can; its
// work(), which polls twice a second at the most, where workers wait.
'use strict'

const PgBoss = require('pg-boss')
const { order, sleep, Count, Delivery, run } = require('./load')

const AHEAD = 100 // jobs, as with the others
// Each queue is a table: many of them are kept apart, so as not to be in the way of the others.
const schema = order.queues > 1 ? 'pgboss_many' : 'pgboss'
const boss = new PgBoss({ schema, max: order.clients + 1, supervise: false, schedule: false })
boss.on('error', error => console.error(error))

const payload = { Ingest: 1 }
const queue = () => order.queues > 1 ? 'q' + Math.floor(Math.random() * order.queues) : 'q'

async function setup () {
  await boss.start()
  await boss.createQueue('q')
}

async function queues () {
  await boss.start()
  for (let n = 0; n < order.queues; n++) await boss.createQueue('q' + n)
}

// So many at it, each with one thing after the other.
async function atOnce (work) {
  await boss.start()
  const count = new Count()
  const all = Promise.all(Array.from({ length: order.clients }, async () => {
    for (;;) {
      const done = await work() // others count meanwhile
      count.done += done
    }
  }))
  return Promise.race([count.watch(), all])
}

const push = () => atOnce(async () => {
  await boss.send('q', payload)
  return 1
})

async function cycle () {
  await boss.start()
  await boss.insert(Array.from({ length: AHEAD }, () => ({ name: queue(), data: payload })))
  return atOnce(async () => {
    const name = queue()
    await boss.send(name, payload)
    const [job] = await boss.fetch(name)
    if (!job) return 0
    await boss.complete(name, job.id)
    return 1
  })
}

const batch = () => atOnce(async () => {
  await boss.insert(Array.from({ length: order.batch }, () => ({ name: 'q', data: payload })))
  const jobs = await boss.fetch('q', { batchSize: order.batch })
  await boss.complete('q', jobs.map(job => job.id))
  return jobs.length
})

async function latency () {
  const delivery = new Delivery()
  await boss.start()
  for (let n = 0; n < order.clients; n++) {
    await boss.work('q', { pollingIntervalSeconds: 0.5, batchSize: 100 },
      async jobs => jobs.forEach(job => delivery.take(job.data.number)))
    await sleep(500 / order.clients)
  }
  return delivery.push(number => boss.send('q', { number }))
}

run({ setup, queues, push, cycle, batch, latency })
