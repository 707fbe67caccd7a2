extension Route {
  /// The whole API. `openapi.json` describes it; a test compares the two.
  static let all: [Route] = [
    Route(.GET, "/") { _, _ in .whole(StatusPage.response) },
    Route(.GET, "/metrics", listsDisks: true, ["disks"]) { api, call in try api.metrics(call) },
    Route(.GET, "/v1") { api, _ in try .json(api.server()) },
    Route(.GET, "/v1/openapi.json") { _, _ in .whole(.text(Description.json, "application/json")) },

    Route(.GET, "/v1/disks", listsDisks: true, ["after", "limit", "origin"]) { api, call in
      try api.list(call)
    },
    Route(.POST, "/v1/disks") { api, call in try api.create(call) },
    Route(.GET, "/v1/disks/{name}") { api, call in try .json(api.disk(call.name)) },
    Route(.PUT, "/v1/disks/{name}") { api, call in try api.create(call) },
    Route(.PATCH, "/v1/disks/{name}") { api, call in try api.change(call) },
    Route(.DELETE, "/v1/disks/{name}") { api, call in
      try api.disks.remove([call.name])
      return .whole(.nothing)
    },
    Route(.POST, "/v1/disks/{name}/forks") { api, call in try api.fork(call) },
    Route(.PUT, "/v1/disks/{name}/forks/{fork}") { api, call in try api.fork(call) },
    Route(.POST, "/v1/disks/{name}/reset", hasBody: false) { api, call in
      try api.disks.reset(call.name)
      return try .json(api.disk(call.name))
    },
    Route(.PATCH, "/v1/disks/{name}/limit") { api, call in try api.limit(call) },
    Route(.POST, "/v1/disks/{name}/resize") { api, call in try api.resize(call) },
    Route(.POST, "/v1/disks/{name}/rename") { api, call in try api.rename(call) },
    Route(.POST, "/v1/disks/{name}/import") { api, call in try api.importImage(call) },
    Route(.POST, "/v1/disks/{name}/export") { api, call in try api.exportImage(call) },
    Route(.POST, "/v1/disks/{name}/view", hasBody: false) { api, call in try api.view(call) },
    Route(.POST, "/v1/held") { api, call in try api.hold(call) },
    Route(.POST, "/v1/held/{name}/publish") { api, call in try api.publish(call) },
    Route(.POST, "/v1/checkpoints") { api, call in try api.checkpoint(call) },
    Route(.POST, "/v1/takeover", hasBody: false) { api, call in try api.takeover(call) },
    Route(.POST, "/v1/ranges") { api, call in try api.addRanges(call) },
    Route(.POST, "/v1/remove") { api, call in try api.remove(call) },

    Route(.GET, "/v1/memory") { api, _ in try .json(api.memory()) },
    Route(.PATCH, "/v1/memory") { api, call in try api.limitMemory(call) },
    Route(.POST, "/v1/memory/shrink", hasBody: false) { api, _ in
      try .json(["freed": api.control.shrink()])
    },
    Route(.GET, "/v1/knobs") { api, _ in try .json(api.knobs([])) },
    Route(.PATCH, "/v1/knobs") { api, call in try api.tune(call) },

    Route(.GET, "/v1/jobs") { api, _ in try .json(["jobs": api.jobs.all]) },
    Route(.GET, "/v1/jobs/{id}", ["wait"]) { api, call in try api.job(call) },
    Route(.DELETE, "/v1/jobs/{id}") { api, call in
      try .json(api.jobs.cancel(call.segments["id"] ?? ""))
    },
    Route(.GET, "/v1/events", ["after"]) { api, call in try api.events(call) },
  ]
}
