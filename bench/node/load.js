// What the programs have in common: an order as JSON on the command line, what
// came of it as JSON on standard output.
'use strict'

const order = JSON.parse(process.argv[2])

const now = () => performance.now()
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

// Counts what is done, by the second; the warm-up counts in what is done, but not in rates.
class Count {
  constructor () {
    this.done = 0
  }

  async watch () {
    await sleep(1000 * order.warm_up)
    const rates = []
    const start = now()
    const first = this.done
    let before = first
    let last = start
    for (let second = 1; second <= Math.max(1, Math.round(order.seconds)); second++) {
      await sleep(start + 1000 * second - now())
      const at = now()
      rates.push(1000 * (this.done - before) / (at - last))
      before = this.done
      last = at
    }
    return { rate: 1000 * (before - first) / (last - start), rates, done: before }
  }
}

// One job every 20 ms, and when each was sent, known to be committed, and in hand.
class Delivery {
  constructor () {
    this.jobs = []
  }

  async push (push) {
    const start = now()
    for (let number = 0; number < Math.max(1, Math.round(order.seconds / order.every)); number++) {
      await sleep(start + 1000 * order.every * number - now())
      this.jobs[number] = { sent: now() }
      await push(number)
      this.jobs[number].known = now()
    }
    for (let patience = 0; this.jobs.some(job => !job.taken); patience++) {
      if (patience === 200) throw new Error('jobs were not taken')
      await sleep(100)
    }
    return {
      latencies: this.jobs.map(({ sent, known, taken }) => [Math.max(0, taken - known), taken - sent])
    }
  }

  take (number) {
    if (this.jobs[number]) this.jobs[number].taken = now()
  }
}

async function run (works) {
  const answer = await works[order.work]()
  process.stdout.write(JSON.stringify(answer ?? {}) + '\n', () => process.exit(0))
}

module.exports = { order, now, sleep, Count, Delivery, run }
