"""Models as the Hugging Face libraries save them: found on this machine, checked, loaded as data.

Nothing is downloaded, only safetensors files are read, and nothing that lies in a folder is run.
"""
