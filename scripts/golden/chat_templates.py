#!/usr/bin/env python3
"""Chat templates and small constructs, rendered by jinja2 as transformers sets it up.

    scripts/golden/chat_templates.py > tests/text/golden/chat_templates.jsonl

The templates are written for these tests in the manner of well-known ones. Rows: {name, source} of a template;
{conversation, messages, tools}; and the cases {template or source, conversation or none, variables, rendered and
generated, or error}. `generated` are bytes. Dates are those of 2024-07-26. Needs transformers.
"""
import copy
import datetime
import json

from transformers.utils import chat_template_utils

TEMPLATES = {
    # Turns in <|im_start|>, a default system message, tools as JSON.
    "chatml_tools": r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "# Tools\n\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- elif messages[0]['role'] != 'system' %}
    {{- '<|im_start|>system\nYou help.<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not (loop.first and tools)) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""",
    # Reasoning is kept after the last query only; a reverse loop finds it.
    "thinking_switch": r"""
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if message.role in ("user", "system") %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}""",
    # Headers, a date, tools in the system or the first user message.
    "headers_date_tools": r"""{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
{%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\n\n' -}}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
""",
    # State in a namespace, all on one line.
    "namespace_state": r"""{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='', is_first_sp=true) %}{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first_sp %}{% set ns.system_prompt = ns.system_prompt + message['content'] %}{% set ns.is_first_sp = false %}{%- else %}{% set ns.system_prompt = ns.system_prompt + '\n\n' + message['content'] %}{%- endif %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<|User|>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and 'tool_calls' in message %}{%- set ns.is_tool = false -%}{%- for tool in message['tool_calls'] %}{%- if not ns.is_first %}{{'<|Assistant|><|calls|>' + tool['type'] + '<|sep|>' + tool['function']['name'] + '\n' + '```json' + '\n' + tool['function']['arguments']|tojson + '\n' + '```' + '<|end|>'}}{%- set ns.is_first = true -%}{%- else %}{{'\n' + tool['function']['name']}}{%- endif %}{%- endfor %}{{'<|calls_end|>'}}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{%- if ns.is_tool %}{{'<|outputs_end|>' + message['content'] + eos_token}}{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<|Assistant|>' + content + eos_token}}{%- endif %}{%- endif %}{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{'<|outputs|><|output|>' + message['content'] + '<|output_end|>'}}{%- set ns.is_output_first = false %}{%- else %}{{'\n<|output|>' + message['content'] + '<|output_end|>'}}{%- endif %}{%- endif %}{%- endfor -%}{% if ns.is_tool %}{{'<|outputs_end|>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<|Assistant|><think>\n'}}{% endif %}""",
    # Strict alternation.
    "strict_inst": r"""{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.role == "tool_results" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {{- ", " if not loop.last else "]" }}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {{- ", " if not loop.last else "]" + eos_token }}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content|string + "}[/TOOL_RESULTS]" }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported!") }}
    {%- endif %}
{%- endfor %}
""",
    "turns_model_role": r"""{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '
' + message['content'] | trim + '<end_of_turn>
' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model
'}}{% endif %}""",
    # Content in parts, with images.
    "content_parts": r"""{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {{ '<start_of_turn>' + message.role + '
' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
""",
    "plain_turns": """{% for message in messages %}
{% if message['role'] == 'system' %}
{{'<|system|>
' + message['content'] + '<|end|>
'}}
{% elif message['role'] == 'user' %}
{{'<|user|>
' + message['content'] + '<|end|>
'}}
{% elif message['role'] == 'assistant' %}
{{'<|assistant|>
' + message['content'] + '<|end|>
'}}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>
' }}{% else %}
{{ eos_token }}{% endif %}
""",
    "zephyr_like": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    # Macros that write the types of tools' parameters.
    "macro_types": r"""
{%- macro json_to_python_type(json_spec) %}
{%- set basic_type_map = {"string": "str", "number": "float", "integer": "int", "boolean": "bool"} %}
{%- if json_spec.type in basic_type_map %}
    {{- basic_type_map[json_spec.type] }}
{%- elif json_spec.type == "array" %}
    {{- "List[" + json_to_python_type(json_spec['items']) + "]"}}
{%- elif json_spec.type == "object" %}
    {%- if json_spec.additionalProperties is defined %}
        {{- "Dict[str, " + json_to_python_type(json_spec.additionalProperties) + ']'}}
    {%- else %}
        {{- "Dict" }}
    {%- endif %}
{%- elif json_spec.type is iterable %}
    {{- "Union[" }}
    {%- for t in json_spec.type %}
      {{- json_to_python_type({"type": t}) }}
      {%- if not loop.last %}
        {{- "," }}
    {%- endif %}
    {%- endfor %}
    {{- "]" }}
{%- else %}
    {{- "Any" }}
{%- endif %}
{%- endmacro %}
{%- macro document_turn(docs) %}
{%- for doc in docs %}
Document: {{ loop.index0 }}
{%- for key, value in doc.items() %}
{{ key }}: {{ value }}
{%- endfor %}
{% endfor %}
{%- endmacro %}
{{- bos_token }}
{%- for tool in tools or [] %}
{%- set tool = tool.function %}
def {{ tool.name }}(
{%- for name, fields in tool.parameters.properties.items() %}
    {{- name }}: {{ json_to_python_type(fields) }}
    {%- if name not in tool.parameters.required %} = None{% endif %}
    {%- if not loop.last %}, {% endif %}
{%- endfor %}) -> {{ (json_to_python_type(tool.return) if tool.return is defined else 'None') }}:
    """ + '"""' + r"""{{ tool.description | indent(4) }}""" + '"""' + r"""
{% endfor %}
{%- if documents %}
<results>{{ document_turn(documents) }}</results>
{% endif %}
{%- for message in messages if message.role != 'tool' %}
<|{{ message.role | upper }}|>{{ message.content or '' }}<|END|>
{%- endfor %}
{%- if add_generation_prompt %}<|CHATBOT|>{% endif %}
""",
    "generation_blocks": r"""{%- if enable_thinking is not defined %}
{%- set enable_thinking = true %}
{%- endif %}
{%- set reasoning_mode = "/think" if enable_thinking else "/no_think" %}
{%- for message in messages %}
    {%- if message.role == "system" %}
        {%- set custom = message.content.replace("/no_think", "").replace("/think", "").rstrip() %}
{{ "<|im_start|>system\n" ~ "Reasoning Mode: " ~ reasoning_mode ~ "\n" ~ custom ~ "<|im_end|>\n" }}
    {%- endif %}
    {%- if message.role == "user" %}
{{ "<|im_start|>" + message.role + "\n" + message.content + "<|im_end|>\n" }}
    {%- elif message.role == "assistant" %}
        {% generation %}
        {%- if reasoning_mode == "/think" %}
            {{ "<|im_start|>assistant\n" + (message.content or '').lstrip("\n") + "<|im_end|>\n" }}
        {%- else %}
            {{ "<|im_start|>assistant\n" + "<think>\n\n</think>\n" + (message.content or '').lstrip("\n") + "<|im_end|>\n" }}
        {%- endif %}
        {% endgeneration %}
    {%- elif message.role == "tool" %}
    {{ "<|im_start|>" + "user\n" + message.content + "<|im_end|>\n" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{ "<|im_start|>assistant\n" }}{{ '' if enable_thinking else '<think>\n\n</think>\n' }}
{%- endif %}
""",
    # Python's methods, loop controls, filters with tests.
    "methods_and_controls": r"""{%- set roles = {'user': 'U', 'assistant': 'A', 'system': 'S'} -%}
{% for m in messages -%}
{% if m.role not in roles %}{% continue %}{% endif -%}
{% if loop.index > 6 %}{% break %}{% endif -%}
{{ roles.get(m.role, '?') }}{{ loop.index }}/{{ loop.length }}[{{ loop.cycle('odd', 'even') }}]: {{ (m.content or 'none')|string|trim|replace('\n', ' ')|truncate(40) }}
{% else -%}
nothing
{% endfor -%}
{{ messages|map(attribute='role')|unique|join(',') }} {{ messages|groupby('role')|map('first')|join('/') }}
{{ messages|rejectattr('content')|list|length }} {{ messages|selectattr('tool_calls', 'defined')|list|length }} {{ (messages|last).role.upper() }}
""",
}

SCHEMA = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather at a place.\nIn degrees.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "a town, e.g. \"Zürich\" <b>&'"},
                "days": {"type": ["integer", "null"], "minimum": 1, "default": 1.0},
                "tags": {"type": "array", "items": {"type": "string"}},
                "extra": {"type": "object", "additionalProperties": {"type": "number"}},
            },
            "required": ["place"],
        },
        "return": {"type": "boolean"},
    },
}

CALL = {"role": "assistant", "content": None,
        "tool_calls": [{"id": "abcdefghi", "type": "function",
                        "function": {"name": "get_weather", "arguments": {"place": "Köln \U0001F327", "days": 2, "x": 0.1}}}]}

CONVERSATIONS = {
    "question": [{"role": "user", "content": "What is 2+2?"}],
    "system": [{"role": "system", "content": "  Be brief.\n"}, {"role": "user", "content": "Hi 😀\n"}],
    "turns": [{"role": "user", "content": " 1+1? "}, {"role": "assistant", "content": "\n2 "},
              {"role": "user", "content": "日本語?"}, {"role": "assistant", "content": "はい。\n\nÜber <|im_end|> 'a' \"b\""}],
    "thoughts": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "<think>\nadd\n</think>\n\n2"},
                 {"role": "user", "content": "2+2?"},
                 {"role": "assistant", "reasoning_content": "\nmore\n", "content": "<think>x</think>4"}],
    "tools": [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Rain?"}, CALL,
              {"role": "tool", "content": "{\"rain\": true}"}, {"role": "tool", "content": "wet"},
              {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Thanks"}],
    "two_users": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    "parts": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": " What is it? "}]}],
    "unknown_role": [{"role": "user", "content": "a"}, {"role": "critic", "content": "b"}],
    "empty": [{"role": "user", "content": ""}],
}

VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}

X = {"l": [3, 1, 2], "d": {"b": 1, "a": [1, 2.5, None, True, "x'y"]}, "s": "Hello World", "u": "héllo 😀 wörld", "n": 7,
     "f": 2.5, "none": None, "people": [{"name": "Bob", "age": 30}, {"name": "al", "age": 25}, {"name": "Al", "age": 30}],
     "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}], "lines": "a\n\n  b\r\nc"}

# One or a few for each construct of the language.
CONSTRUCTS = [
    # output, literals, what Python prints
    "{{ 1 }} {{ 1.0 }} {{ 1e3 }} {{ 1e16 }} {{ 1e-5 }} {{ 0.1 + 0.2 }} {{ true }} {{ none }} {{ 'a' \"b\" }} {{ 0x1F }} {{ 1_000 }}",
    "{{ [1, 'a', none, 2.0, (1,), (), {'k': [true]}] }} {{ {} }} {{ (1, 2) }} {{ d }} {{ \"it's\" }} {{ [\"it's\", 'q\"', '\\n\\t\\\\é\\x00'] }}",
    "{{ missing }}[{{ missing is defined }}{{ d.zz is undefined }}]{{ missing|default('x') }}{{ ''|default('y', true) }}",
    "{{ 'x' ~ 1 ~ none ~ [1] }} {{ 'ab' * 3 }} {{ [1] * 2 + [3] }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}",
    "{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ not 1 == 2 }} {{ 1 if n > 3 else 2 }} {{ 'yes' if false }}|{{ -n|abs }} {{ 1 - -1 }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 2 in l }} {{ 'ell' in s }} {{ 'b' in d }} {{ 5 not in l }}",
    "{{ n and 0 }} {{ 0 or 'x' }} {{ none or false }} {{ '' and 1 }} {{ not '' }} {{ not l }}",
    # access
    "{{ d.b }} {{ d['a'][1] }} {{ d.a[-1] }} {{ l.0 }} {{ l[9] }} {{ d.items is callable }} {{ {'items': 1}['items'] }} {{ s[0] }}{{ s[-1] }} {{ u[1] }}{{ u[6] }}",
    "{{ s[1:4] }} {{ s[::-1] }} {{ s[-5:] }} {{ s[::2] }} {{ l[1:] }} {{ l[::-1] }} {{ (1, 2, 3)[:2] }} {{ u[6:9] }} {{ s[5:2] }} {{ s[-100:100] }} {{ s[8:2:-2] }}",
    "{{ missing.attribute }}", "{{ d.zz.y }}", "{{ none.x }}{{ none['y'] }}", "{{ 1 + 'a' }}", "{{ missing + 1 }}", "{{ l.append(1) }}", "{{ d.update({}) }}", "{{ ''.__class__ }}|", "{{ d.pop is defined }}",
    # statements
    "{% if n > 10 %}a{% elif n > 5 %}b{% else %}c{% endif %}{% if missing %}d{% endif %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.depth }};{% endfor %}",
    "{% for x in [] %}a{% else %}empty{% endfor %}{% for x in l if x > 1 %}{{ x }}/{{ loop.length }} {% else %}none{% endfor %}{% for x in missing %}a{% else %}u{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for c in 'añ' %}{{ c }}.{% endfor %}{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for x in tree recursive %}{{ x.v }}@{{ loop.depth }}{% if x.c %}({{ loop(x.c) }}){% endif %}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{% if loop.changed(x) %}{{ x }}{% endif %}{% endfor %}",
    "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% if y == 1 %}{% break %}{% endif %}{% endfor %}|{{ loop.index }} {% endfor %}",
    "{% for x in l %}{% break %}{% else %}e{% endfor %}", "{% break %}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, %}{{ t }}{% set ns = namespace(x=1, **{'y': 2}) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns }}",
    "{% set x %}a {{ n }}{% endset %}[{{ x }}]{% set x | upper | trim %} q {% endset %}[{{ x }}]", "{% set d.x = 1 %}", "{% set a, b = 1 %}",
    "{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=5) }} {{ m() }} {{ m(b=1, a=0) }} {{ m(*[1, 2], **{'c': 3}) }}{{ m.name }}{{ m.arguments }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}{% macro n(a) %}{% endmacro %}{{ n(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(zz=1) }}",
    "{% macro outer(x) %}<{{ caller(x, 2) }}>{% endmacro %}{% call(a, b=3, c=4) outer(1) %}{{ a }}{{ b }}{{ c }}{{ s }}{% endcall %}{% call outer(0) %}{% endcall %}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %},{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}{% set late %}{% endset %}", "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% set n = 0 %}{% endwith %}{{ n }}{{ a }}{% filter upper %}x{{ s }}{% endfilter %}{% filter replace('l', 'L')|trim %} hello {% endfilter %}",
    "{% raw %}{{ x }}{% if %}{% endraw %}|{%- raw -%}  a  {%- endraw -%}  |{# comment {{ x }} #}{#- c -#} b", "{% block content %}b{{ n }}{% endblock %}{% print s, n %}",
    "a{% generation %}b{{ n }}é{% endgeneration %}c{% for x in l %}{% generation %}{{ x }}{% endgeneration %}-{% endfor %}",
    # white space
    "  {% if true %}\n  a\n  {% endif %}\n\n  b {% if true %} c {% endif %} d\n", "a\n\n", "a\n  {{- n -}}  \n b {{ n }} \n{{ n }}\n", "x {%- if true -%}  y  {%- endif +%}\n z",
    "  {%+ if true %}\n a{%+ endif +%}\n  {# c #}\n  {#+ d #}\n e {# f #}\n", "{% set x = 1 -%}\n\n  {{ x }}\t{%- set y = 2 %}\n\t{{ y }}\n \t {% set z = 3 %} {{ z }}", "\n{% for x in l %}\n{{ x }}\n{% endfor %}\n\r\n{{ n }}\r\n",
    "{{ '{{' }}{{ '%}' }}{{ \"#}\" }}{{ {'a': {'b': 1}}.a.b }}{{-n-}}", "{% if true %}{% endif %}   \n{{ [\n1,\n2\n] }}",
    # methods
    "{{ s.upper() }}{{ s.lower() }}{{ 'a b'.title() }}{{ 'ab CD'.capitalize() }}{{ 'aB'.swapcase() }}{{ ' x '.strip() }}|{{ ' x '.lstrip() }}|{{ ' x '.rstrip() }}|{{ 'xxaxx'.strip('x') }}{{ '\u3000é\u00a0'.strip() }}",
    "{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a b c'.split(' ', 1) }}{{ 'a b c'.rsplit(' ', 1) }}{{ lines.splitlines() }}{{ 'a=b=c'.partition('=') }}{{ 'a=b=c'.rpartition('=') }}{{ ' a b  c '.split(none, 1) }}",
    "{{ s.replace('l', 'L') }}{{ s.replace('l', 'L', 1) }}{{ s.startswith('He') }}{{ s.endswith(('x', 'ld')) }}{{ s.find('o') }}{{ s.rfind('o') }}{{ s.index('W') }}{{ s.count('l') }}{{ u.find('w') }}{{ 'abc'.replace('', '-') }}",
    "{{ '-'.join(['a', 'b']) }}{{ 'a'.center(5, '*') }}{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3) }}{{ '-7'.zfill(4) }}{{ 'abc'.removeprefix('a').removesuffix('c') }}{{ '12'.isdigit() }}{{ 'ab'.isalpha() }}{{ ' '.isspace() }}{{ 'A'.isupper() }}{{ 'a\tb'.expandtabs(4) }}",
    "{{ d.get('zz') }}{{ d.get('zz', 5) }}{{ d.keys() }}{{ d.values()|list }}{{ d.items()|list }}{{ d.keys()|first }}{{ [1, 2, 1].count(1) }}{{ l.index(2) }}{{ d.copy() == d }}", "{{ 'abc'.index('z') }}", "{{ ','.join([1]) }}",
    "{{ '{} {x} {0!r} {1:>5}|{1:<5}|{1:^5}|{y:.2f} {{}}'.format('a', x=1, y=2) }}" if False else "{{ '{} {x}'.format('a', x=1) }}{{ '{0!r} {1:>5}|{1:<5}|{1:^5}|{y:.2f} {{}}'.format('a', 'b', y=2) }}{{ '{:,} {:05d} {:x} {:.1%} {:+}'.format(1234567, 42, 255, 0.256, 3) }}{{ '{a[k]} {b.real}'.format(a={'k': 1}, b='') if false }}",
    "{{ '%s %d %5.2f %05d %x %-4s| %% %r' % ('a', 3, 2.5, 42, 255, 'b', 'c') }}{{ '%(a)s' % {'a': 1} }}{{ '%s' % [1] }}{{ '%s-%s'|format(1, 'b') }}", "{{ '%s' % (1, 2) }}", "{{ '%d' % 'a' }}",
    # filters
    "{{ l|sort }}{{ l|sort(reverse=true) }}{{ ['b', 'A', 'c']|sort }}{{ ['b', 'A']|sort(case_sensitive=true) }}{{ people|sort(attribute='age,name')|map(attribute='name')|list }}{{ l|reverse|list }}{{ s|reverse }}",
    "{{ l|first }}{{ l|last }}{{ []|first }}{{ l|length }}{{ s|count }}{{ l|min }}{{ l|max }}{{ l|sum }}{{ people|sum(attribute='age') }}{{ people|max(attribute='age') }}{{ l|join('-') }}{{ people|join(',', attribute='name') }}",
    "{{ people|map(attribute='name')|map('upper')|list }}{{ l|map('string')|join }}{{ people|map(attribute='zz', default='?')|list }}{{ l|select('odd')|list }}{{ l|reject('gt', 1)|list }}{{ people|selectattr('age', 'ge', 30)|map(attribute='name')|list }}{{ [0, 1]|select|list }}",
    "{{ people|groupby('age') }}{% for g in people|groupby('name') %}{{ g.grouper }}:{{ g.list|length }};{% endfor %}{{ ['a', 'B', 'A']|unique|list }}{{ range(5)|batch(2, 'x')|list }}{{ range(5)|slice(2)|list }}{{ d|dictsort }}{{ {'b': 1, 'A': 2}|dictsort(by='value', reverse=true) }}",
    "{{ s|upper }}{{ s|lower }}{{ 'hello-big world'|title }}{{ s|capitalize }}{{ ' a '|trim }}|{{ 'xax'|trim('x') }}{{ s|replace('o', '0', 1) }}{{ 'a\nb\n\nc'|indent(2) }}{{ 'a\nb'|indent('> ', first=true) }}{{ s|truncate(8) }}{{ 'foo bar baz'|truncate(7, true, '…', 0) }}{{ s|wordcount }}{{ 'x'|center(5) }}|",
    "{{ '42'|int }}{{ '4.7'|int }}{{ 'x'|int(-1) }}{{ '0x1A'|int(0, 16) }}{{ 4.7|int }}{{ '2.5'|float }}{{ 'x'|float }}{{ 2.5|round }}{{ 42|round }}{{ 2.675|round(2) }}{{ 2.1|round(0, 'ceil') }}{{ 1234.5|round(-2) }}{{ -3|abs }}{{ 7|string + '!' }}",
    "{{ '<a href=\"x\">&'|e }}{{ '<b>'|safe }}{{ ('<b>'|safe) + '<i>' }}{{ 'a b/ü'|urlencode }}{{ {'a b': 'c/d'}|urlencode }}{{ s|list }}{{ d|items|list }}{{ 'x'|d('y') }}{{ s|attr('upper') is callable }}",
    "{{ d|tojson }}{{ d|tojson(indent=2) }}{{ u|tojson }}{{ u|tojson(ensure_ascii=true) }}{{ d|tojson(sort_keys=true, separators=(',', ':')) }}{{ {1: 'a', none: 'b', true: 'c', 1.5: []}|tojson }}{{ '</script>\u007f\u0001\"\\\\'|tojson }}{{ {}|tojson(indent=2) }}{{ [1e100, 1e-7, 0.5, 10000000.0]|tojson }}", "{{ missing|tojson }}",
    "{{ s|nosuch }}", "{% if false %}{{ s|nosuch }}{% endif %}ok", "{{ s is nosuch }}", "{{ s|upper(1) }}", "{{ 5|length }}", "{{ l|map('nosuch')|list }}",
    # tests
    "{{ n is odd }}{{ n is even }}{{ n is divisibleby 7 }}{{ n is divisibleby(2) }}{{ none is none }}{{ s is string }}{{ n is number }}{{ n is integer }}{{ f is float }}{{ true is boolean }}{{ true is number }}{{ true is integer }}{{ false is false }}{{ 1 is true }}",
    "{{ d is mapping }}{{ l is iterable }}{{ l is sequence }}{{ d is sequence }}{{ n is iterable }}{{ s is iterable }}{{ range is callable }}{{ s is callable }}{{ n is eq 7 }}{{ n is equalto(8) }}{{ n is ne 7 }}{{ n is lt 8 }}{{ n is greaterthan 6 }}{{ 2 is in l }}{{ n is sameas n }}{{ 'a' is lower }}{{ 'A' is upper }}",
    "{{ 'upper' is filter }}{{ 'zz' is filter }}{{ 'odd' is test }}{{ n is not odd }}{{ n is not none and l is not mapping }}{{ missing is not defined or 1 }}{{ d.items() is sequence }}{{ l|map('string') is iterable }}{{ 'a'|e is escaped }}",
    # globals
    "{{ range(3)|list }}{{ range(1, 8, 3)|list }}{{ range(5, 0, -2) }}{{ dict(a=1, **{'b': 2}) }}{{ dict([(1, 2)]) }}{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set _ = c.reset() %}{{ c.next() }}",
    "{{ raise_exception('no ' ~ n) }}", "{{ range(1000000) }}", "{{ strftime_now('%Y-%m-%d %b %B %%') }}", "{{ lipsum is defined and false }}",
    "{% if %}", "{% for x in %}{% endfor %}", "{{ 1 +", "{% endif %}", "{% if true %}", "{{ a b }}", "{% unknown %}", "{{ 'abc }}", "{# open", "{% raw %} open", "{{ [1, 2 }}", "{{ ) }}", "{% set 1 = 2 %}", "{% macro m(a=1, b) %}{% endmacro %}", "{{ f(a=1, 2) }}", "{% include 'x' %}",
    "{{ (l|select('odd')) and 'truthy' }}{% set g = l|map('string') %}{{ g|first }}{{ g|list }}{{ g|list }}{{ 2 in l|select }}", "{{ l|select|length }}", "{{ l|select|last }}",
    "{{ [1, [2, [3]]]|string|length }}{{ 'é'|length }}{{ u|upper }}{{ 'ÀÉÎ ß'|lower }}{{ 'straße'|upper }}{{ 'ǆ'|title }}{{ 'ΑΒΓ'.lower() }}{{ 'привет'.capitalize() }}",
    "{{ loop is defined }}{% for x in l %}{% set outer = loop %}{% for y in l %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}", "{% for m in people %}{{ m.name if m.age > 26 else m['age'] }}{{ ', ' if not loop.last }}{% endfor %}",
    "{{ 9223372036854775807 }}{{ -9223372036854775807 - 1 }}{{ 3000000000 * 3 }}{{ 1.5e300 * 1e10 }}{{ 100000000000000000.0 }}{{ 123456789.123 }}{{ -0.0 }}{{ 1 / 3 }}", "{{ 1 / 0 }}", "{{ 5 % 0 }}",
    "{{ {'a': 1, 'a': 2} }}{{ {1: 'x', true: 'y'} }}{{ {'x': 1} == {'x': 1.0} }}{{ [1] == (1,) }}{{ none == missing }}{{ missing == zz }}", "{{ {[]: 1} }}", "{{ 1 < 'a' }}", "{{ 1 in 'abc' }}", "{{ 5 in 5 }}", "{{ [1][::0] }}", "{{ n[1:] }}", "{{ n() }}",
]


def render(source, variables):
    """What transformers gives, as a row: rendered and generated (bytes), or error."""
    blocks, spans = [], []
    try:
        compiled = chat_template_utils._compile_jinja_template(source)
        with compiled.environment.activate_tracker(blocks, spans):
            for block in compiled.generate(**copy.deepcopy(variables)):
                blocks.append(block)
    except RecursionError:
        return {"error": "recursion"}
    except Exception as error:
        return {"error": str(error)}
    text = "".join(blocks)
    size = lambda end: len(text[:end].encode())
    return {"rendered": text, "generated": [[size(a), size(b)] for a, b in spans]}


class Day(datetime.datetime):
    @classmethod
    def now(cls):
        return cls(2024, 7, 26, 12)


def main():
    chat_template_utils.datetime = Day
    write = lambda row: print(json.dumps(row, ensure_ascii=False))
    for name, source in TEMPLATES.items():
        write({"name": name, "source": source})
    for name, messages in CONVERSATIONS.items():
        write({"conversation": name, "messages": messages, "tools": [SCHEMA] if name == "tools" else None})
    for template, source in TEMPLATES.items():
        for conversation, messages in CONVERSATIONS.items():
            tools = [SCHEMA] if conversation == "tools" else None
            more = [{"add_generation_prompt": True}, {"add_generation_prompt": False, "enable_thinking": False}]
            if conversation == "question":
                more += [{"add_generation_prompt": True, "enable_thinking": False, "date_string": "1 May 2025"},
                         {"add_generation_prompt": True, "documents": [{"title": "T", "text": "é"}]}]
            if conversation == "tools":
                more += [{"add_generation_prompt": True, "tools_in_user_message": False}]
            for variables in more:
                everything = {"messages": messages, "tools": tools, "documents": None, **VARIABLES, **variables}
                write({"template": template, "with": conversation, "variables": {**VARIABLES, **variables},
                       **render(source, everything)})
    write({"construct_variables": X})
    for source in CONSTRUCTS:
        write({"construct": source, **render(source, X)})


main()
