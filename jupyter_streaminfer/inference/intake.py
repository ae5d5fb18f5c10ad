"""What a request asks for, checked against the model: from `Generate` to a `Sequence`, or a refusal."""

from __future__ import annotations

from jupyter_streaminfer.inference.sequence import Sampling, Sequence
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.protocol import DEFAULT_MAX_TOKENS, Generate, GenerateJob, StreaminferError


class Intake:
    """Tokenises and checks prompts. Every refusal is a `StreaminferError` that names the field and the limit."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, context_length: int) -> None:
        """``context_length``: what the model and its KV cache both hold of one sequence."""
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self.context_length = context_length

    def sequence(self, job: GenerateJob) -> Sequence:
        """The sequence that a job asks for."""
        request = job.request
        token_ids = self._prompt(request)
        limit = self._max_tokens(request, len(token_ids))
        sampling = self._sampling(request, job.seed)
        sequence = Sequence(job.job, token_ids, limit, sampling, request.priority, job.client)
        sequence.token_ids += self._delivered(job.delivered, limit, sampling.stop_ids)
        return sequence

    def given(self, text: str | list[int], field: str, *, special: bool = True) -> list[int]:
        """The tokens of a text, at least one; ``special``: with those that the tokenizer puts around a prompt."""
        if not isinstance(text, str):
            return self._token_ids(text, field)
        self._check_text(field, text)
        return self._fitting(self.tokenizer.encode(text, special=special) if text else [], field)

    def joined(self, token_ids: list[int], others: list[int], field: str) -> list[int]:
        """Both in a row, where the context has room for them."""
        return self._fitting(token_ids + others, field)

    def _token_ids(self, token_ids: list[int], field: str) -> list[int]:
        """Token ids that were given as such, copied."""
        highest = max(token_ids, default=0)
        if highest >= self.vocabulary:
            raise invalid(field, f"token id {highest} is not below the vocabulary's size, {self.vocabulary}")
        return self._fitting(list(token_ids), field)

    def _prompt(self, request: Generate) -> list[int]:
        """The tokens of the one form in which the prompt was given."""
        given = [name for name in ("prompt", "messages", "token_ids") if getattr(request, name) is not None]
        if len(given) != 1:
            found = "none of them" if not given else " and ".join(given)
            raise invalid("prompt", f"give exactly one of prompt, messages and token_ids, found {found}")
        if request.token_ids is not None:
            return self._with_room(self._token_ids(request.token_ids, "token_ids"), "token_ids")
        if request.messages is not None:
            self._check_text("messages", "".join(message.content for message in request.messages))
            tokens = self.tokenizer.encode_chat(request.messages) if request.messages else []
            return self._with_room(self._fitting(tokens, "messages"), "messages")
        return self._with_room(self.given(request.prompt or "", "prompt"), "prompt")

    def _fitting(self, token_ids: list[int], field: str) -> list[int]:
        if not token_ids:
            raise invalid(field, f"{field} is empty; give at least one token")
        if len(token_ids) > self.context_length:
            raise invalid(field, f"{field} has {len(token_ids)} tokens; the model's context is {self.context_length}")
        return token_ids

    def _with_room(self, token_ids: list[int], field: str) -> list[int]:
        if len(token_ids) == self.context_length:
            raise invalid(
                field,
                f"the prompt has {len(token_ids)} tokens; the model's context is {self.context_length} and needs room"
                " for one more",
            )
        return token_ids

    def _check_text(self, field: str, text: str) -> None:
        """Refuse what no tokenisation can make fit, before tokenising it: that takes time in which nobody is served.

        And what is no text: half a surrogate pair, which a `str` may hold and no tokenizer takes.
        """
        limit = self.context_length * self.tokenizer.longest_piece
        if len(text) > limit:
            raise invalid(
                field,
                f"{field} has {len(text)} characters; the model's context holds at most {limit}, usually far fewer",
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise invalid(field, f"{field} is no Unicode text: its character {error.start} is a surrogate") from None

    def _max_tokens(self, request: Generate, prompt_tokens: int) -> int:
        room = self.context_length - prompt_tokens
        found = request.max_tokens
        if found is None:
            found = min(max(DEFAULT_MAX_TOKENS, request.min_tokens), room)
        if found > room:
            raise invalid(
                "max_tokens",
                f"{prompt_tokens} prompt tokens and {found} new ones exceed the model's context of"
                f" {self.context_length}; ask for {room} at most",
            )
        if request.min_tokens > found:
            raise invalid("min_tokens", f"min_tokens = {request.min_tokens} is more than max_tokens = {found}")
        return found

    def _delivered(self, token_ids: list[int], max_tokens: int, stop_ids: frozenset[int]) -> list[int]:
        """The part of the answer that was told already."""
        if len(token_ids) > max_tokens:
            raise invalid(
                "delivered", f"{len(token_ids)} tokens were told already, which is more than max_tokens = {max_tokens}"
            )
        for identifier in token_ids:
            if not 0 <= identifier < self.vocabulary:
                raise invalid("delivered", f"token id {identifier} is not one of the vocabulary's {self.vocabulary}")
            if identifier in stop_ids:
                raise invalid("delivered", f"token id {identifier} ends an answer, so it cannot have been told")
        return token_ids

    def _sampling(self, request: Generate, seed: int) -> Sampling:
        for field, ids in (("logit_bias", request.logit_bias), ("stop_token_ids", request.stop_token_ids)):
            for identifier in ids:
                if not 0 <= identifier < self.vocabulary:
                    raise invalid(field, f"token id {identifier} is not one of the vocabulary's {self.vocabulary}")
        stop_ids = frozenset(request.stop_token_ids)
        if not request.ignore_eos:
            stop_ids |= self.tokenizer.eos_ids
        return Sampling(
            temperature=request.temperature,
            top_k=request.top_k,
            top_p=request.top_p,
            min_p=request.min_p,
            repetition_penalty=request.repetition_penalty,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            logit_bias=request.logit_bias,
            min_tokens=request.min_tokens,
            stop_ids=stop_ids,
            logprobs=request.logprobs,
            seed=seed,
        )


def invalid(field: str, message: str) -> StreaminferError:
    """The refusal of a field's value."""
    return StreaminferError("invalid_request", message, field=field)
