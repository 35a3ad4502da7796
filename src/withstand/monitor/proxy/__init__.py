"""In front of a model: passes requests to an OpenAI-compatible server, logs them, and flags or blocks by judge.

A request goes `app` -> `route` (what is it) -> `asked` (what does it say) -> `screens` (what do judges say of it) ->
`upstream` -> `answer` -> the client, and at its end into `log`. `session` counts what was done, for the report.
"""
