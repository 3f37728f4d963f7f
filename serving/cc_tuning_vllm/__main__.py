"""`python -m cc_tuning_vllm` is the command `cc-tuning-vllm`."""

from cc_tuning_vllm.serve import main

if __name__ == "__main__":  # vLLM's processes import this module again when they are spawned
    main()
