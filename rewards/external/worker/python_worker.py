"""Calls a user's reward function in a process of its own, one line of JSON in, one line out.

Started by hone: python_worker.py FILE.py|MODULE FUNCTION chat=auto|yes|no OPTIONS. The function
has TRL's signature, f(prompts, completions, **columns) -> list of numbers and None; README.md of
rewards/ says what it is given. With OPTIONS, FUNCTION makes the function: FUNCTION(**OPTIONS).
"""
import asyncio
import importlib
import importlib.util
import inspect
import json
import math
import os
import select
import sys
import threading
import traceback
import types

# Columns that are not the data's own, as in TRL; `hone score` rows hold all completions.
NOT_COLUMNS = ("prompt", "completion", "completion_ids", "completions")


def main():
    target, name, chat, options = sys.argv[1:5]
    requests, replies = take_pipes()
    # Sees the end of hone even while the function is busy.
    threading.Thread(target=leave_with_hone, args=(requests.fileno(),), daemon=True).start()
    try:
        function = load(target, name, json.loads(options))
    except BaseException as error:  # also SystemExit: a module may call sys.exit
        reply(replies, {"failed": f"{target}:{name}: {told(error)}"})
        sys.exit(1)
    reply(replies, {"ready": True})
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    for line in requests:
        request = json.loads(line)
        try:
            answer = {"scores": judge(function, chat, loop, request)}
        except BaseException as error:  # also SystemExit
            traceback.print_exc()
            answer = {"error": told(error)}
        reply(replies, {"call": request["call"], **answer})
    # Threads that the user's code started must not keep the process.
    os._exit(0)


def take_pipes():
    """The two pipes to hone, out of the way of whatever the function prints or reads."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def leave_with_hone(pipe):
    poll = select.poll()
    poll.register(pipe, 0)  # hang-up is always told
    poll.poll()
    os._exit(0)


def reply(replies, value):
    # Lone surrogates are no UTF-8: they become question marks.
    replies.write(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    replies.flush()


def told(error):
    return traceback.format_exception_only(type(error), error)[-1].strip()


def load(target, name, options):
    sys.path[0] = os.path.dirname(target) if target.endswith(".py") else os.getcwd()
    if target.endswith(".py"):
        module_name = os.path.splitext(os.path.basename(target))[0]
        if module_name in sys.modules:  # a judge in json.py must not become the json of others
            module_name = "hone_reward_" + module_name
        spec = importlib.util.spec_from_file_location(module_name, target)
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(target)
    function = getattr(module, name)
    if options:
        keys = ", ".join(options)
        try:
            function = function(**{key: number_or_text(text) for key, text in options.items()})
        except TypeError as error:
            raise TypeError(f"called with the options that are not hone's ({keys}): {error}")
        if not callable(function):
            raise TypeError(f"called with the options that are not hone's ({keys}), it returned "
                            f"{type(function).__name__} instead of a reward function")
    if not callable(function):
        raise TypeError(f"expected a function, found {type(function).__name__}")
    return function


def number_or_text(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def judge(function, chat, loop, request):
    problems, items = request["problems"], request["items"]
    of_item = [problems[item["problem"]] for item in items]
    try:
        signature = inspect.signature(function)
    except ValueError:  # of some built-in functions
        signature = None
    chats = [is_chat(signature, chat, problem) for problem in of_item]
    columns = {
        "prompts": [problem["fields"]["messages"]
                    if talks and "messages" in problem["fields"]
                    else [{"role": "user", "content": problem["prompt"]}] if talks
                    else problem["prompt"] for talks, problem in zip(chats, of_item)],
        "completions": [[{"role": "assistant", "content": item["text"]}] if talks
                        else item["text"] for talks, item in zip(chats, items)],
        "completion_ids": [item["ids"] for item in items],
    }
    for key in dict.fromkeys(key for problem in problems for key in problem["fields"]):
        if key not in NOT_COLUMNS and key not in columns:
            columns[key] = [problem["fields"].get(key) for problem in of_item]

    log = Log(len(items))
    run = request["run"]
    given = {**columns, "log_extra": log.extra, "log_metric": log.metric,
             "trainer_state": types.SimpleNamespace(
                 global_step=run["step"], max_steps=run["steps"], epoch=0.0, num_train_epochs=1,
                 is_world_process_zero=True, log_history=[])}
    if signature and not takes_any(signature):
        given = {key: value for key, value in given.items() if key in signature.parameters}
    if signature:
        try:
            signature.bind(**given)
        except TypeError as error:  # the data lacks a column: no fault of the completion
            why = f"{error}; the columns are {', '.join(columns)}"
            return [{"score": None, "status": "bad_reference", "details": {"error": why}}
                    for _ in items]

    scores = function(**given)
    if inspect.isawaitable(scores):
        scores = loop.run_until_complete(scores)
    return [log.around(i, score_of(score)) for i, score in enumerate(list(scores))]


def takes_any(signature):
    return any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())


def is_chat(signature, chat, problem):
    """Whether a completion is given as a list of one message: the row has messages, as in TRL, or
    the function says in its annotation that it wants such lists, as TRL's own do."""
    if chat != "auto":
        return chat == "yes"
    if isinstance(problem["fields"].get("messages"), list):
        return True
    if not signature or "completions" not in signature.parameters:
        return False
    wanted = str(signature.parameters["completions"].annotation)
    return wanted.replace("typing.", "").lower().startswith("list[list[")


def score_of(score):
    if score is None:
        return {"score": None}
    try:
        if isinstance(score, (str, bytes)):
            raise TypeError
        number = float(score)  # also of NumPy and Torch
    except Exception:
        return failed(f"expected a number or None, found {score!r:.100}")
    if not math.isfinite(number):
        return failed(f"the reward is {number}")
    return {"score": number}


def failed(error):
    return {"score": None, "status": "verifier_error", "details": {"error": error}}


class Log:
    """What the function says through log_extra and log_metric, for the items of one call."""

    def __init__(self, size):
        self.size, self.columns, self.metrics = size, {}, {}

    def extra(self, column, values):
        self.columns[str(column)] = list(values)

    def metric(self, name, value):
        self.metrics[str(name)] = value

    def around(self, i, score):
        details = {column: plain(values[i]) for column, values in self.columns.items()
                   if len(values) == self.size and i < self.size}
        metrics = {name: score_of(value)["score"] for name, value in self.metrics.items()}
        metrics = {name: value for name, value in metrics.items() if value is not None}
        details.update(score.get("details", {}))
        return {**score, **({"details": details} if details else {}),
                **({"metrics": metrics} if metrics else {})}


def plain(value):
    try:
        json.dumps(value, allow_nan=False)
        return value
    except (TypeError, ValueError):
        return str(value)


if __name__ == "__main__":
    main()
