// A question to the search has its Chinese words apart, as the search's index has them. Within a word a
// backslash, which the search takes away again, keeps it from being cut into letters.
const chineseWords = [] // filled in when the site is built
const apart = text => text
  .replace(RegExp(chineseWords.join("|") || "(?!)", "g"), " $& ")
  .replace(/(?<=\p{sc=Han})(?=\p{sc=Han})/gu, "\\")
const asked = message => message.type === 2 ? { ...message, data: apart(message.data) } : message

window.Worker = class extends Worker {
  postMessage(message) { super.postMessage(asked(message)) }
}

// Browsers refuse workers to a page that was opened from a file. There, the script of a worker runs in a
// hidden frame instead, and messages go to and fro as with a worker: all that the search needs.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      this.waiting = []
      const inside = frame.contentWindow
      inside.document.open()
      inside.document.write("<!doctype html><title>search</title>")
      inside.document.close()
      inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      const script = inside.document.createElement("script")
      script.src = new URL(address, document.baseURI)
      script.onload = () => {
        this.inside = inside
        this.waiting.splice(0).forEach(message => this.postMessage(message))
      }
      inside.document.body.append(script)
    }
    postMessage(message) {
      if (!this.inside) this.waiting.push(message)
      else this.inside.dispatchEvent(new this.inside.MessageEvent("message", { data: asked(message) }))
    }
  }
}
